"""What run-build accepts, refuses and packs; whole builds are tested on the local stack."""

import importlib.machinery
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("run-build")


def load():
    """run-build as a module."""
    loader = importlib.machinery.SourceFileLoader("run_build", str(PROGRAM))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


run_build = load()
ARGUMENTS = {
    "architecture": "i386",
    "app": "org.example.App",
    "commit": "c" * 40,
    "build-id": "7",
    "subject": "A change",
    "source": "/var/lib/worker/build-i386/source",
    "output": "/var/lib/worker/build-i386/repo.tar",
}


def parse(**changes):
    """The job of these arguments."""
    given = {**ARGUMENTS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return run_build.parse_arguments([f"--{name}={value}" for name, value in given.items()], ["i386"])


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job with a work folder of its own."""
    monkeypatch.setattr(run_build, "BUILDS", tmp_path)
    work = tmp_path / "7-i386"
    (work / "source").mkdir(parents=True)
    return replace(parse(), output=tmp_path / "repo.tar")


def test_right_arguments():
    given = parse()
    assert (given.name, given.unit) == ("7-i386", "flathub-build-7-i386.service")
    assert given.subject == "A change" and not given.end_with_input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architecture", "x86_64"),
        ("architecture", "i386 "),
        ("app", "hello"),
        ("app", "org.example.App;reboot"),
        ("app", "../../etc.passwd"),
        ("app", "org.example.App\n"),
        ("commit", "HEAD"),
        ("commit", "C" * 40),
        ("commit", "c" * 41),
        ("build-id", "0"),
        ("build-id", "07"),
        ("build-id", "7/../8"),
        ("build-id", "9" * 17),
        ("source", "/etc"),
        ("source", "/var/lib/worker"),
        ("source", "/var/lib/worker/../build"),
        ("source", "build/source"),
        ("source", "/var/lib/worker-2/source"),
        ("output", "/etc/passwd"),
        ("output", "/var/lib/worker/x/../../../etc/passwd"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(run_build.BuildError, match=f"^--{name} {re.escape(repr(value))}: expected") as caught:
        parse(**{name: value})
    assert caught.value.status == 2


def test_a_subject_is_one_printable_line():
    assert parse(subject="a\nb\x1b[31m" + "c" * 500).subject == ("ab[31m" + "c" * 500)[:200]


def test_nobody_but_root_may_build():
    if os.geteuid() != 0:
        pytest.skip("shows what another user gets, as root")
    nobody = pwd.getpwnam("nobody")
    source = PROGRAM.read_bytes()
    result = subprocess.run(
        ["/usr/bin/python3", "-"],
        input=source,
        capture_output=True,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        check=False,
    )
    assert (result.returncode, result.stdout) == (2, b"run-build: ERROR: run this as root\n")


@pytest.mark.parametrize("name", ["org.example.App.json", "org.example.App.yml", "org.example.App.yaml"])
def test_the_manifest_is_named_after_the_app(job, name):
    (job.work / "source" / name).write_text("{}")
    (job.work / "source" / "org.example.Other.json").write_text("{}")
    assert run_build.find_manifest(job) == name


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
    with pytest.raises(run_build.BuildError, match=found):
        run_build.find_manifest(job)


def test_a_manifest_that_is_a_link_is_refused(job):
    (job.work / "source" / "org.example.App.json").symlink_to("/etc/passwd")
    with pytest.raises(run_build.BuildError, match="found none"):
        run_build.find_manifest(job)


def ostree(job, *refs):
    """A repository with these refs."""
    if not shutil.which("ostree"):
        pytest.skip("needs ostree")
    repo = job.work / "repo"
    subprocess.run(["ostree", f"--repo={repo}", "init", "--mode=archive"], check=True, capture_output=True)
    tree = job.work / "tree"
    tree.mkdir()
    (tree / "file").write_text("x")
    for ref in refs:
        subprocess.run(
            ["ostree", f"--repo={repo}", "commit", f"--branch={ref}", str(tree)], check=True, capture_output=True
        )
    return repo


OWN = "app/org.example.App/i386/stable"


@pytest.mark.parametrize("extra", [[], ["Locale"], ["Debug", "Locale", "Sources"]])
def test_the_apps_own_refs_are_accepted(job, extra):
    ostree(job, OWN, *(f"runtime/org.example.App.{kind}/i386/stable" for kind in extra))
    run_build.check_refs(job)


@pytest.mark.parametrize(
    "strange",
    [
        "app/org.example.Other/i386/stable",
        "app/org.example.App/x86_64/stable",
        "app/org.example.App/i386/beta",
        "runtime/org.example.App.Extension/i386/stable",
        "runtime/org.example.App.Locale/x86_64/stable",
        "appstream2/i386",
    ],
)
def test_any_other_ref_is_refused_by_name(job, strange):
    ostree(job, OWN, strange)
    with pytest.raises(run_build.BuildError, match=strange):
        run_build.check_refs(job)


def test_a_ref_that_is_a_link_to_a_folder_is_refused(job):
    repo = ostree(job, OWN)
    (repo / "refs/heads/app/org.example.Other").symlink_to("org.example.App")
    with pytest.raises(run_build.BuildError, match=r"app/org\.example\.Other"):
        run_build.check_refs(job)


def test_a_build_without_the_apps_ref_failed(job):
    ostree(job, "runtime/org.example.App.Locale/i386/stable")
    with pytest.raises(run_build.BuildError, match=f"made no ref {OWN}"):
        run_build.check_refs(job)
    shutil.rmtree(job.work / "repo")
    with pytest.raises(run_build.BuildError, match=f"made no ref {OWN}"):
        run_build.check_refs(job)


def test_the_tar_holds_the_repository_and_nobodys_name(job, monkeypatch):
    repo = ostree(job, OWN)
    monkeypatch.setattr(run_build, "as_user", lambda _name: {})
    run_build.write_tar(job)
    with tarfile.open(job.output) as tar:
        members = tar.getmembers()
    assert {member.name.split("/")[0] for member in members} == {"repo"}
    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert {f"repo/{path.relative_to(repo)}" for path in repo.rglob("*")} <= {member.name for member in members}


def test_a_repository_that_is_too_large_is_refused(job, monkeypatch):
    ostree(job, OWN)
    monkeypatch.setattr(run_build, "as_user", lambda _name: {})
    monkeypatch.setattr(run_build, "MAX_TAR_BYTES", 4096)
    with pytest.raises(run_build.BuildError, match="at most 4096 bytes"):
        run_build.write_tar(job)


def test_the_source_is_copied_without_git(job, monkeypatch, tmp_path):
    monkeypatch.setattr(run_build, "as_user", lambda _name: {})
    shutil.rmtree(job.work / "source")
    checkout = tmp_path / "checkout"
    (checkout / ".git").mkdir(parents=True)
    (checkout / "file").write_text("x")
    run_build.copy_source(replace(job, source=checkout))
    assert [path.name for path in (job.work / "source").iterdir()] == ["file"]
    shutil.rmtree(job.work / "source")
    with pytest.raises(run_build.BuildError, match="can't be copied"):
        run_build.copy_source(replace(job, source=tmp_path / "none"))


@pytest.mark.skipif(not shutil.which("systemctl"), reason="needs systemctl")
def test_leftovers_go_but_not_a_build_under_way(job, tmp_path):
    (tmp_path / "8-i386").mkdir()
    (tmp_path / "9-i386").mkdir()
    script = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path / "9-i386.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"1\n"
        run_build.remove_leftovers("7-i386")
        running.stdin.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["9-i386", "9-i386.lock"]


def test_the_command_is_sandboxed_and_knows_no_shell():
    command = run_build.build_script(parse(subject="$(reboot)"), "org.example.App.json", {"runtimes": "http://x"})
    assert "--sandbox" in command and "--share=network" not in " ".join(command)
    assert "--subject=$(reboot)" in command
    assert command[2:4] == ["setarch", "linux32"]
    assert command[-1] == "org.example.App.json"
