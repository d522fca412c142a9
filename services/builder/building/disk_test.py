"""What a build may take of a disk."""

import os
from types import SimpleNamespace

import pytest

from building import disk
from building.disk import MAX_WORK, SPARE, Space


def test_a_folders_bytes_and_files_are_measured(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"x" * 300_000)
    (tmp_path / "link").symlink_to("/usr")
    used = disk.used_space(tmp_path)
    assert used.files == 4 and 300_000 <= used.bytes < 400_000
    assert disk.used_space(tmp_path / "none") == Space(0, 0)


@pytest.mark.parametrize(("files", "free", "expected"), [(1000, 7, 7), (1000, 0, 0), (0, 0, 1 << 62)])
def test_a_filesystem_that_counts_no_files_has_room_for_them(monkeypatch, files, free, expected):
    status = SimpleNamespace(f_bavail=10, f_frsize=4096, f_files=files, f_favail=free)
    monkeypatch.setattr(os, "statvfs", lambda _: status)
    found = disk.free_space(disk.Path("/"))
    assert found.bytes == 40960 and min(found.files, 1 << 62) == expected


def test_shares_together_leave_the_spare(tmp_path):
    free, builds = Space(30 * disk.GIB, 500_000), Space(10 * disk.GIB, 100_000)
    share = disk.share(free, builds, 3)
    assert 3 * share.bytes <= free.bytes + builds.bytes - SPARE.bytes < 3 * share.bytes + 3
    assert 3 * share.files <= free.files + builds.files - SPARE.files < 3 * share.files + 3


def test_one_share_is_the_whole_room_up_to_the_limit():
    assert disk.share(Space(11 * disk.GIB, 120_000), Space(0, 0), 1) == Space(10 * disk.GIB, 100_000)
    assert disk.share(Space(1 << 50, 1 << 50), Space(0, 0), 4) == MAX_WORK
