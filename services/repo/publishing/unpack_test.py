"""Hostile tars: refused by name, and nothing of them is written anywhere else."""

import json
import shutil
import subprocess
import tarfile

import pytest

from publishing.settings import Settings
from publishing.unpack import Refused, unpack_requested, unpack_tar
from repository_machine_test import tar_of

CONFIG = b"[core]\nrepo_version=1\nmode=archive-z2\n"


def member(name, kind=tarfile.REGTYPE, mode=0o644, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, target
    return info


@pytest.fixture
def place(tmp_path):
    settings = Settings(root=tmp_path, max_unpacked_bytes=10_000, max_members=50)
    for directory in (settings.unpacked, settings.work / "1/job"):
        directory.mkdir(parents=True)
    return settings


def files_outside(settings):
    """All that is not below the directory that the unpacker may write to, nor the job itself."""
    return {
        path
        for path in settings.root.rglob("*")
        if not path.is_relative_to(settings.unpacked) and not path.is_relative_to(settings.work) and path.is_file()
    }


@pytest.mark.parametrize(
    ("bad", "data", "reason"),
    [
        (member("/etc/cron.d/x"), b"x", "'/etc/cron.d/x': absolute names"),
        (member("//repo/config"), b"x", "absolute names"),
        (member("repo/../../x"), b"x", "names with '..'"),
        (member("repo/objects/.."), b"x", "names with '..'"),
        (member("other/x"), b"x", "must be below repo/"),
        (member("repo/objects/aa", tarfile.SYMTYPE, target="/srv/signer"), b"", "symbolic links"),
        (member("repo/refs", tarfile.LNKTYPE, target="/etc/shadow"), b"", "hard links"),
        (member("repo/x", tarfile.CHRTYPE), b"", "device nodes"),
        (member("repo/x", tarfile.BLKTYPE), b"", "device nodes"),
        (member("repo/x", tarfile.FIFOTYPE), b"", "named pipes"),
        (member("repo/x", mode=0o4755), b"x", "set-user-ID"),
        (member("repo/x", mode=0o2755), b"x", "set-user-ID"),
        (member("repo/x", tarfile.DIRTYPE, mode=0o2755), b"", "set-user-ID"),
        (member("repo/x", tarfile.CONTTYPE), b"x", "members of this type"),
        (member("repo/x"), b"x" * 20_000, "more than 10000 bytes"),
        (member("repo/refs/heads/app/x"), b"x", "appears twice"),
        (member("repo/config"), b"[core]\nmode=bare-user\n", "mode is 'bare-user'"),
        (member("repo/config"), b"no ini file", "can't be read"),
    ],
)
def test_a_hostile_member_is_refused(place, bad, data, reason):
    first = [(member("repo/config"), CONFIG), (member("repo/refs/heads/app/x"), b"0" * 64)]
    tar = tar_of(place.work / "1/job/x86_64.tar", [*first, (bad, data)])
    before = files_outside(place)
    with pytest.raises(Refused, match=reason):
        unpack_tar(tar, place.unpacked / "x86_64", place)
    assert files_outside(place) == before


def test_too_many_members(place):
    many = [(member(f"repo/state/{i}"), b"") for i in range(60)]
    tar = tar_of(place.work / "t.tar", [(member("repo/config"), CONFIG), *many])
    with pytest.raises(Refused, match="more than 50 members"):
        unpack_tar(tar, place.unpacked / "x", place)


@pytest.mark.parametrize("cut", [1, 512, 10_000, 0])
def test_a_truncated_tar(place, cut):
    tar = tar_of(place.work / "t.tar", [(member("repo/config"), CONFIG), (member("repo/summary"), b"x" * 5000)])
    data = tar.read_bytes()
    tar.write_bytes(data[: len(data) - cut] if cut else b"")
    if cut in (1, 512):
        # The padding after the end mark is not missed.
        unpack_tar(tar, place.unpacked / "x", place)
    else:
        with pytest.raises(Refused, match="truncated"):
            unpack_tar(tar, place.unpacked / "x", place)


def test_cut_inside_a_member(place):
    tar = tar_of(place.work / "t.tar", [(member("repo/config"), CONFIG), (member("repo/refs/heads/a"), b"\0" * 5000)])
    tar.write_bytes(tar.read_bytes()[:4096])
    with pytest.raises(Refused, match="truncated|can't be read"):
        unpack_tar(tar, place.unpacked / "x", place)


def test_what_is_no_tar(place):
    path = place.work / "t.tar"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 4096)
    with pytest.raises(Refused, match="can't be read"):
        unpack_tar(path, place.unpacked / "x", place)


def test_without_a_configuration_it_is_no_repository(place):
    with pytest.raises(Refused, match="no repo/config"):
        unpack_tar(tar_of(place.work / "t.tar", [(member("repo/summary"), b"x")]), place.unpacked / "x", place)


def test_only_objects_and_refs_come_out(place):
    name = f"repo/objects/ab/{'0' * 62}.filez"
    contents = [
        (member("./repo/", tarfile.DIRTYPE, 0o755), b""),
        (member("./repo/config"), CONFIG + b'[remote "x"]\nurl=file:///etc\n'),
        (member(name), b"object"),
        (member(name.replace("filez", "commitmeta")), b"signature"),
        (member("repo/refs/heads/app/a/x86_64/stable"), b"0" * 64),
        (member("repo/summary"), b"summary"),
        (member("repo/tmp/x"), b"x"),
    ]
    target = place.unpacked / "x86_64"
    unpack_tar(tar_of(place.work / "t.tar", contents), target, place)
    assert (target / name.removeprefix("repo/")).read_bytes() == b"object"
    assert not list(target.rglob("*.commitmeta")) and not (target / "summary").exists()
    assert not list((target / "tmp").rglob("x"))
    config = subprocess.run(
        ["ostree", f"--repo={target}", "config", "get", "core.mode"], capture_output=True, check=True
    )
    assert config.stdout.strip() in (b"archive", b"archive-z2")
    assert "remote" not in (target / "config").read_text()


def test_a_volume_without_room_is_left_as_it_was(place, monkeypatch):
    """However small the files are."""
    rooms = iter([1] * 3 + [0] * 10)
    usage = shutil.disk_usage(place.unpacked)
    monkeypatch.setattr(
        "publishing.unpack.shutil.disk_usage", lambda _: usage._replace(free=place.min_free_bytes + next(rooms) * 10**6)
    )
    files = [(member(f"repo/objects/ab/{number:062x}.filez"), b"x") for number in range(5)]
    tar_of(place.work / "1/job/x86_64.tar", [(member("repo/config"), CONFIG), *files])
    place.unpack_request.write_text(json.dumps({"id": "1", "architectures": ["x86_64"]}))
    unpack_requested(place)
    assert "x86_64.tar: no room to unpack it" in json.loads(place.unpack_answer.read_text())["error"]
    assert list(place.unpacked.iterdir()) == [place.unpack_answer]


def test_refs_so_deep_that_they_could_not_be_removed_do_not_come_out(place):
    deep = [(member("repo/refs/heads/" + "a/" * depth + "x"), b"") for depth in (3, 20)]
    tar_of(place.work / "1/job/x86_64.tar", [(member("repo/config"), CONFIG), *deep])
    place.unpack_request.write_text(json.dumps({"id": "1", "architectures": ["x86_64"]}))
    unpack_requested(place)
    assert [path.name for path in (place.unpacked / "x86_64/refs/heads").rglob("*") if path.is_file()] == ["x"]
    place.unpack_request.unlink()
    unpack_requested(place)
    assert not list(place.unpacked.iterdir())


def test_a_request_is_answered_and_what_the_last_one_left_is_removed(place):
    (place.unpacked / "old/deep").mkdir(parents=True)
    (place.unpacked / "link").symlink_to(place.work)
    tar_of(place.work / "1/job/x86_64.tar", [(member("/x"), b"x")])
    place.unpack_request.write_text(json.dumps({"id": "1", "architectures": ["x86_64"]}))
    unpack_requested(place)
    answer = json.loads(place.unpack_answer.read_text())
    assert answer["id"] == "1" and answer["error"].startswith("x86_64.tar: '/x': absolute names")
    assert not (place.unpacked / "old").exists() and (place.work / "1").exists()
    place.unpack_request.unlink()
    unpack_requested(place)
    assert not list(place.unpacked.iterdir())
