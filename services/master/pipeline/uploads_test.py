"""Room for uploads, their checksums, and what goes with them."""

import hashlib

import pytest

from pipeline import uploads
from pipeline.uploads import ChecksumError, NoRoom, Room, accept, checksums, remove_all, total_bytes

CONTENT = b"a repository"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(name="folder")
def temporary_uploads(tmp_path, monkeypatch):
    """A folder of uploads of its own."""
    monkeypatch.setattr(uploads, "UPLOADS", tmp_path)
    monkeypatch.setattr(uploads, "RESERVE_BYTES", 0)
    return tmp_path


def test_what_arrived_as_it_was_is_accepted_with_its_checksum(folder):
    path = folder / "7/arm.tar"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    accept(path, len(CONTENT), SHA256)
    assert checksums("7", ["arm"]) == {"arm": SHA256}
    assert total_bytes("7", ["arm"]) == len(CONTENT)


@pytest.mark.parametrize("arrived", [CONTENT[:-1], CONTENT + b"x", CONTENT.swapcase(), b""])
def test_what_arrived_otherwise_is_not(folder, arrived):
    path = folder / "arm.tar"
    path.write_bytes(arrived)
    with pytest.raises(ChecksumError, match=rf"arm.tar: arrived with {len(arrived)} bytes .*{SHA256}"):
        accept(path, len(CONTENT), SHA256)
    assert not path.with_suffix(".sha256").exists()


def test_uploads_that_run_at_once_do_not_count_on_the_same_room(folder):
    free = uploads.shutil.disk_usage(folder).free
    room = Room()
    first, second = folder / "first", folder / "second"
    room.reserve(first, free * 3 // 4)
    with pytest.raises(NoRoom, match="no room on the master: second has"):
        room.reserve(second, free // 2)
    room.arrived(first, free // 2)
    room.reserve(second, free // 2)
    room.release(second)
    room.release(first)
    room.reserve(second, free // 2)


def test_a_reserve_stays_free(folder, monkeypatch):
    monkeypatch.setattr(uploads, "RESERVE_BYTES", uploads.shutil.disk_usage(folder).total)
    with pytest.raises(NoRoom, match="; 0 are free beyond"):
        Room().reserve(folder / "x", 1)


def test_all_uploads_go(folder):
    (folder / "1").mkdir()
    (folder / "1/arm.tar").touch()
    (folder / "file").touch()
    (folder / "link").symlink_to("/")
    remove_all()
    assert list(folder.iterdir()) == []
