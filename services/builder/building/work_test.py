"""The work folder: what is copied into it, packed from it, and left behind."""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest

from building import job as jobs
from building import work
from building.job_test import parse


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job with a work folder of its own, whose users are all this one."""
    monkeypatch.setattr(jobs, "BUILDS", tmp_path / "builds")
    monkeypatch.setattr(work, "as_user", lambda _name: {})
    (tmp_path / "builds/7-i386/source").mkdir(parents=True)
    return replace(parse(), source=tmp_path / "checkout", output=tmp_path / "repo.tar")


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


def test_the_source_is_copied_without_git_and_with_links_as_links(job):
    shutil.rmtree(job.work / "source")
    (job.source / ".git").mkdir(parents=True)
    (job.source / "file").write_text("x")
    (job.source / "link").symlink_to("/etc/hostname")
    (job.source / "folder").symlink_to("/etc")
    work.copy_source(job)
    copied = job.work / "source"
    assert sorted(os.listdir(copied)) == ["file", "folder", "link"]
    assert (os.readlink(copied / "link"), os.readlink(copied / "folder")) == ("/etc/hostname", "/etc")


def test_a_source_that_is_missing_or_too_large_is_refused(job, monkeypatch):
    shutil.rmtree(job.work / "source")
    with pytest.raises(jobs.BuildError, match="can't be copied"):
        work.copy_source(job)
    job.source.mkdir()
    (job.source / "file").write_bytes(b"x" * 100_000)
    monkeypatch.setattr(work, "MAX_SOURCE_BYTES", 50_000)
    with pytest.raises(jobs.BuildError, match="at most 50000 bytes are allowed") as caught:
        work.copy_source(job)
    assert caught.value.status == 2


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
    units = "flathub-build-{0}-fetch.service flathub-build-{0}-build.service flathub-build-{0}-check.service"
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


def test_one_build_of_a_name_at_a_time_and_nothing_is_left(job, monkeypatch, stopped):
    owner = type("Account", (), {"pw_uid": os.geteuid(), "pw_gid": os.getegid()})
    monkeypatch.setattr(work, "account", lambda _name: owner)
    shutil.rmtree(job.work)
    with work.work_folder(job) as folder:
        assert sorted(os.listdir(folder)) == ["cache", "tmp"]
        (folder / "state").mkdir()
        with pytest.raises(jobs.BuildError, match="already running") as caught, work.work_folder(job):
            pass
        assert caught.value.status == 2
        assert folder.exists()
    assert list(jobs.BUILDS.iterdir()) == []
