"""The work folder: what is copied into it, packed from it, and left behind."""

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace

import pytest

from building import job as jobs
from building import waiting, work
from building.job_test import parse


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job with a work folder of its own, whose users are all this one."""
    monkeypatch.setattr(jobs, "BUILDS", tmp_path / "builds")
    monkeypatch.setattr(work, "as_user", lambda _name: {})
    (tmp_path / "builds/7-i386/source").mkdir(parents=True)
    return replace(parse(), output=tmp_path / "repo.tar")


@pytest.mark.parametrize("name", ["org.example.App.json", "org.example.App.yml", "org.example.App.yaml"])
def test_the_manifest_is_named_after_the_app(job, name):
    (job.work / "source" / name).write_text("{}")
    (job.work / "source" / "org.example.Other.json").write_text("{}")
    assert work.find_manifest(job) == name


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "found none"),
        (["org.example.Other.json"], "found none"),
        (["sub/org.example.App.json"], "found none"),
        (["org.example.App.json", "org.example.App.yml"], "found org.example.App.json, org.example.App.yml"),
    ],
)
def test_another_manifest_is_refused(job, files, found):
    for name in files:
        path = job.work / "source" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    with pytest.raises(jobs.BuildError, match=found):
        work.find_manifest(job)


def test_a_manifest_that_is_a_link_is_refused(job):
    (job.work / "source" / "org.example.App.json").symlink_to("/etc/passwd")
    with pytest.raises(jobs.BuildError, match="found none"):
        work.find_manifest(job)


def repository(job):
    """What stands for a repository: a link, a folder and a file."""
    repo = job.work / "repo"
    (repo / "objects").mkdir(parents=True)
    (repo / "objects" / "file").write_bytes(b"x" * 5000)
    (repo / "link").symlink_to("/etc/passwd")
    return repo


def test_the_tar_holds_the_repository_and_nobodys_name_and_no_linked_file(job):
    repo = repository(job)
    work.write_tar(job)
    with tarfile.open(job.output) as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert set(members) == {"repo", *(f"repo/{path.relative_to(repo)}" for path in repo.rglob("*"))}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert members["repo/link"].issym()


def test_a_repository_that_is_too_large_is_refused(job, monkeypatch):
    repository(job)
    monkeypatch.setattr(work, "MAX_TAR_BYTES", 4096)
    with pytest.raises(jobs.BuildError, match="at most 4096 bytes"):
        work.write_tar(job)


def test_a_repository_that_is_missing_is_refused(job):
    with pytest.raises(jobs.BuildError, match="can't be packed"):
        work.write_tar(job)


@pytest.fixture
def stopped(monkeypatch, tmp_path):
    """The units that were stopped, by a stand-in for systemctl: this host may run no systemd."""
    record = tmp_path / "stopped"
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{record}\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return lambda: record.read_text().splitlines() if record.exists() else []


def test_leftovers_go_with_all_their_units_but_not_a_build_under_way(job, stopped):
    shutil.rmtree(job.work)
    (jobs.BUILDS / "8-i386").mkdir()
    (jobs.BUILDS / "9-i386").mkdir()
    (jobs.BUILDS / "10-i386").mkdir()
    (jobs.BUILDS / "10-i386.lock").touch()
    script = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(jobs.BUILDS / "9-i386.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"1\n"
        work.remove_leftovers("7-i386")
        running.stdin.close()
    assert sorted(path.name for path in jobs.BUILDS.iterdir()) == ["9-i386", "9-i386.lock"]
    units = " ".join(f"flathub-build-{{0}}-{stage}.service" for stage in ("checkout", "fetch", "build", "check"))
    assert sorted(stopped()) == [f"stop {units.format(name)}" for name in ("10-i386", "8-i386")]


def test_hostile_leftovers_go_and_nothing_beside_them(job, stopped, tmp_path):
    """Folders nested more deeply than Python recurses, folders without permissions, links out."""
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "file").touch()
    (job.work / "link").symlink_to(beside)
    (job.work / "closed").mkdir(mode=0)
    here = os.open(job.work, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("n", dir_fd=here)
        below = os.open("n", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    work.end_leftover(job.name)
    assert not job.work.exists() and (beside / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_mounts_below_a_leftover_are_taken_away_and_what_they_show_stays(job, tmp_path):
    """In a mount namespace of its own, so that a failure leaves nothing mounted here."""
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "file").touch()
    points = [job.work / "one", job.work / "with space"]
    for point in points:
        point.mkdir()
    script = (
        "import sys, subprocess; from pathlib import Path; from building import job, work\n"
        "builds, beside, *points = map(Path, sys.argv[1:])\n"
        "job.BUILDS = builds\n"
        "for point in points: subprocess.run(['mount', '--bind', beside, point], check=True)\n"
        "assert len(work.mounts_below(builds, Path('/proc/self/mountinfo').read_text())) == len(points)\n"
        "work.end_leftover('7-i386')\n"
        "assert work.mounts_below(builds, Path('/proc/self/mountinfo').read_text()) == []\n"
    )
    command = [
        "unshare",
        "--mount",
        sys.executable,
        "-B",
        "-c",
        script,
        str(jobs.BUILDS),
        str(beside),
        *map(str, points),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=os.path.dirname(os.path.dirname(work.__file__)), check=False
    )
    assert result.returncode == 0, result.stderr
    assert not job.work.exists() and (beside / "file").exists()


def test_mounts_are_found_by_whole_names():
    line = "36 25 0:32 / {} rw,relatime shared:1 - tmpfs tmpfs rw"
    mountinfo = "\n".join(line.format(point) for point in ("/b/7", "/b/7/x", r"/b/7/a\040b", "/b/77", "/b"))
    assert work.mounts_below(jobs.Path("/b/7"), mountinfo) == ["/b/7", "/b/7/x", "/b/7/a b"]


@pytest.fixture
def owned(monkeypatch):
    """The build's user is this one."""
    owner = type("Account", (), {"pw_uid": os.geteuid(), "pw_gid": os.getegid()})
    monkeypatch.setattr(work, "account", lambda _name: owner)
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)


def test_a_work_folder_is_made_and_nothing_is_left(job, owned, stopped):
    with work.work_folder(job) as folder:
        assert sorted(os.listdir(folder)) == ["cache", "source", "tmp"]
        (folder / "state").mkdir()
    assert list(jobs.BUILDS.iterdir()) == []


def test_a_build_waits_until_an_earlier_run_has_cleaned_up(job, owned, stopped, monkeypatch):
    """The master runs a build again as soon as it has lost the worker."""
    said = []
    begun = threading.Event()

    def say(message):
        said.append(message)
        begun.set()

    monkeypatch.setattr(waiting, "say", say)
    entered = []

    def again():
        with work.work_folder(job) as folder:
            entered.append(sorted(os.listdir(folder)))

    second = threading.Thread(target=again)
    with work.work_folder(job) as folder:
        (folder / "state").mkdir()
        second.start()
        assert begun.wait(60)
        assert entered == [] and (folder / "state").exists()
    second.join(60)
    assert entered == [["cache", "source", "tmp"]]
    assert said == ["waiting for the end of an earlier run of build 7-i386 on this machine, at most 600 seconds"]
    assert list(jobs.BUILDS.iterdir()) == []


def test_an_earlier_run_that_does_not_end_is_not_waited_for_for_ever(job, owned, stopped, monkeypatch):
    monkeypatch.setattr(work, "LOCK_SECONDS", 0.05)
    with work.work_folder(job) as folder:
        expected = pytest.raises(jobs.BuildError, match="waited 0 seconds for the end of an earlier run")
        with expected as caught, work.work_folder(job):
            pass
        assert caught.value.status == 2
        assert folder.exists()


def test_a_build_that_is_cancelled_waits_no_longer(job, owned, stopped, monkeypatch):
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading) as stdin, work.work_folder(job) as folder:
        monkeypatch.setattr(sys, "stdin", stdin)
        expected = pytest.raises(jobs.BuildError, match="gone or has cancelled")
        with expected as caught, work.work_folder(replace(job, end_with_input=True)):
            pass
        assert caught.value.status == 3
        assert folder.exists()


def test_a_lock_whose_file_was_removed_counts_for_nothing(tmp_path, monkeypatch):
    """Between opening and locking, a build that ends has removed the file, and a third has made another."""
    path = tmp_path / "lock"
    flock = work.fcntl.flock

    def late(lock, how):
        path.unlink()
        flock(lock, how)

    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(work.fcntl, "flock", late)
        assert not work.take_lock(path, stack)
        monkeypatch.setattr(work.fcntl, "flock", flock)
        assert work.take_lock(path, stack)
        assert not work.take_lock(path, contextlib.ExitStack())
    with contextlib.ExitStack() as stack:
        assert work.take_lock(path, stack)
