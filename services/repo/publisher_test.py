"""Publishing, with real ostree, flatpak and gpg, up to a client that installs."""

import os
import shutil
import subprocess
import sys

import pytest

import publisher
from client_test import APP, client_with_remote
from publishing import command, request, signing
from publishing.command import Interrupted
from repository_machine_test import PASSPHRASE

AMD64, I386 = f"app/{APP}/x86_64/stable", f"app/{APP}/i386/stable"


def publish_all(machine):
    assert publisher.main(machine.settings) == 0


def test_from_the_queue_to_an_installed_application(machine, address):
    builds = {a: machine.build(APP, a) for a in ("x86_64", "i386")}
    machine.queue("7", APP, builds)
    publish_all(machine)
    result = machine.result("7")
    assert (result["status"], result["error"]) == ("published", None)
    assert set(result["refs"]) == {AMD64, I386} <= machine.refs()
    assert not list(machine.settings.queue.iterdir())
    assert not [e for e in machine.settings.work.iterdir() if e.is_dir()]
    assert not list(machine.settings.unpacked.iterdir())
    assert (machine.status()["signing"], machine.status()["waiting"]) == ("unlocked", [])

    client = client_with_remote(machine, address)
    done = client.install()
    assert done.returncode == 0, done.stderr
    commit = client.flatpak("info", "--user", "--show-commit", f"{APP}/x86_64/stable").stdout.strip()
    assert commit == result["refs"][AMD64]
    remotes = client.flatpak("remotes", "--user", "--columns=name,options").stdout
    assert "no-gpg-verify" not in remotes

    machine.queue("8", APP, {a: machine.build(APP, a, "Hello again") for a in ("x86_64", "i386")})
    publish_all(machine)
    updated = client.flatpak("update", "--user", "--noninteractive", "--no-deps", "--no-related")
    assert updated.returncode == 0, updated.stderr
    commit = client.flatpak("info", "--user", "--show-commit", f"{APP}/x86_64/stable").stdout.strip()
    assert commit == machine.result("8")["refs"][AMD64] != result["refs"][AMD64]
    history = subprocess.run(
        ["ostree", f"--repo={machine.settings.repository}", "log", AMD64], check=True, capture_output=True, text=True
    ).stdout
    assert result["refs"][AMD64] in history, "the published commit is the parent of the next"
    deltas = subprocess.run(
        ["ostree", f"--repo={machine.settings.repository}", "static-delta", "list"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert f"{result['refs'][AMD64]}-{commit}" in deltas


def test_the_second_architecture_is_signed_too(machine, address):
    machine.queue("7", APP, {a: machine.build(APP, a) for a in ("x86_64", "i386")})
    publish_all(machine)
    # flatpak on x86_64 hides applications for i386, as the summary it reads does: ostree looks at this one instead.
    client = machine.root / "client"
    for words in (
        ["init", "--mode=archive"],
        ["remote", "add", f"--gpg-import={machine.settings.public_key}", "flathub", address],
        ["pull", "flathub", I386],
    ):
        subprocess.run(["ostree", f"--repo={client}", *words], check=True, capture_output=True)


def test_a_client_refuses_what_another_key_signed(machine, address):
    machine.queue("7", APP, {"x86_64": machine.build(APP, "x86_64")})
    publish_all(machine)
    client = client_with_remote(machine, address)
    # Somebody who can write here, but not sign, puts commits of their own.
    repo = machine.settings.repository
    other = machine.build(APP, "x86_64", "Something else")
    subprocess.run(["ostree", f"--repo={repo}", "pull-local", other, AMD64], check=True, capture_output=True)
    subprocess.run(["flatpak", "build-update-repo", repo], check=True, capture_output=True)
    current = machine.settings.served / "current"
    for file in current.glob("summary*"):
        file.unlink()
    for file in repo.glob("summary*"):
        shutil.copy(file, current)
    shutil.rmtree(current / "summaries")
    shutil.copytree(repo / "summaries", current / "summaries")
    done = client.install()
    assert done.returncode != 0
    assert "GPG" in done.stderr or "signature" in done.stderr, done.stderr


def test_a_build_that_changes_nothing_keeps_its_commit(machine):
    for job in ("1", "2"):
        machine.queue(job, APP, {"x86_64": machine.build(APP, "x86_64")})
        publish_all(machine)
        assert machine.result(job)["status"] == "published"
    assert machine.result("1")["refs"] == machine.result("2")["refs"]


def test_a_job_that_fails_publishes_nothing_and_stops_no_other(machine):
    good = "org.flathub.Good"
    machine.queue("9", APP, {"x86_64": machine.build(APP, "x86_64"), "i386": machine.build(APP, "x86_64")})
    machine.queue("10", good, {"x86_64": machine.build(good, "x86_64")})
    publish_all(machine)
    assert machine.result("9")["status"] == "failed"
    assert f"i386: the ref {I386} is missing" in machine.result("9")["error"]
    assert machine.result("10")["status"] == "published"
    assert {ref for ref in machine.refs() if ref.startswith("app/")} == {f"app/{good}/x86_64/stable"}


def _another_app(machine):
    repo = machine.build(APP, "x86_64")
    foreign = machine.build("org.flathub.Other", "x86_64")
    subprocess.run(["ostree", f"--repo={repo}", "pull-local", foreign], check=True, capture_output=True)
    return repo


def _corrupt(machine):
    repo = machine.build(APP, "x86_64")
    victim = max((repo / "objects").rglob("*.filez"), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-3] + b"xyz")
    return repo


def _incomplete(machine):
    repo = machine.build(APP, "x86_64")
    next((repo / "objects").rglob("*.filez")).unlink()
    return repo


def _by_hand(machine, name=APP, mode=0o755):
    """A commit that no flatpak would make."""
    tree = machine.root / "tree"
    (tree / "files/bin").mkdir(parents=True)
    (tree / "files/bin/hello").write_text("#!/bin/sh\n")
    (tree / "files/bin/hello").chmod(mode)
    (tree / "metadata").write_text(f"[Application]\nname={name}\nruntime=org.test.Platform/x86_64/1\n")
    repo = machine.root / "by-hand"
    for words in (["init", "--mode=archive"], ["commit", f"--branch={AMD64}", f"--tree=dir={tree}", "--subject=x"]):
        subprocess.run(["ostree", f"--repo={repo}", *words], check=True, capture_output=True)
    return repo


def _with_commit(machine, *options, metadata=None, architecture="x86_64", xa_metadata=None):
    """A commit whose own description is as told; what flatpak would write if nothing is."""
    tree = machine.root / "tree"
    (tree / "files").mkdir(parents=True)
    text = metadata or f"[Application]\nname={APP}\nruntime=org.test.Platform/{architecture}/1\n"
    (tree / "metadata").write_text(text)
    repo = machine.root / "by-hand"
    shown = text if xa_metadata is None else xa_metadata
    for words in (
        ["init", "--mode=archive"],
        ["commit", f"--branch={AMD64}", f"--tree=dir={tree}", "--subject=x",
         f"--add-metadata-string=xa.metadata={shown}", *options],
    ):  # fmt: skip
        subprocess.run(["ostree", f"--repo={repo}", *words], check=True, capture_output=True)
    return repo


def _missing_commit(machine):
    repo = machine.build(APP, "x86_64")
    commit = (repo / "refs/heads" / AMD64).read_text().strip()
    (repo / f"objects/{commit[:2]}/{commit[2:]}.commit").unlink()
    return repo


def _not_a_ref(machine):
    repo = machine.build(APP, "x86_64")
    (repo / "refs/heads" / AMD64).write_text("../../../../srv/signer\n")
    return repo


def _extra_ref(machine):
    repo = machine.build(APP, "x86_64")
    (repo / "refs/heads/extra").write_text((repo / "refs/heads" / AMD64).read_text())
    return repo


def _broken_commit(machine):
    """An object whose name is right, but which is no commit."""
    import hashlib

    repo = machine.build(APP, "x86_64")
    data = b"\xff" * 100
    name = hashlib.sha256(data).hexdigest()
    (repo / "objects" / name[:2]).mkdir(exist_ok=True)
    (repo / f"objects/{name[:2]}/{name[2:]}.commit").write_bytes(data)
    (repo / "refs/heads" / AMD64).write_text(f"{name}\n")
    return repo


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda m: m.build(APP, "i386"), f"the ref {AMD64} is missing"),
        (_extra_ref, "refs that are not this build's: extra"),
        (_missing_commit, "error"),
        (_not_a_ref, "is not a commit's checksum"),
        (_broken_commit, "error"),
        (lambda m: _with_commit(m, "--bind-ref=app/org.flathub.Other/x86_64/stable"), "is bound to"),
        (lambda m: _with_commit(m, "--add-metadata-string=xa.ref=app/x.y.Z/arm/stable"), "says xa.ref="),
        (lambda m: _with_commit(m, "--add-metadata-string=ostree.collection-binding=org.x"), "of a collection"),
        (lambda m: _with_commit(m, xa_metadata="[Application]\nname=x\n"), "xa.metadata of its commit"),
        (lambda m: _with_commit(m, architecture="arm"), "expected one for x86_64"),
        (lambda m: _with_commit(m, metadata="no ini file"), "can't be read"),
        (lambda m: _with_commit(m, metadata="[Runtime]\nname=" + APP), "its metadata says"),
        (_another_app, "refs that are not this build's: app/org.flathub.Other/x86_64/stable"),
        (_corrupt, "fsck content object"),
        (_incomplete, "Couldn't find file object"),
        (lambda m: _by_hand(m, mode=0o4755), "invalid mode"),
        (lambda m: _by_hand(m, name="org.flathub.Other"), "its metadata says"),
    ],
    ids=[
        "another architecture",
        "extra ref",
        "missing commit",
        "no checksum",
        "no commit",
        "bound to another ref",
        "xa.ref",
        "collection",
        "permissions shown are not those used",
        "runtime of another architecture",
        "metadata that can't be read",
        "a runtime's metadata",
        "another application's ref",
        "corrupt object",
        "missing object",
        "set-user-ID file",
        "wrong metadata",
    ],
)
def test_a_bad_repository_is_refused(machine, make, reason):
    machine.queue("1", APP, {"x86_64": make(machine)})
    publish_all(machine)
    assert machine.result("1")["status"] == "failed"
    assert reason in machine.result("1")["error"]
    assert not {ref for ref in machine.refs() if ref.startswith("app/")}


def test_jobs_wait_while_the_key_is_locked(machine):
    machine.stop_agent()
    machine.start_agent()
    machine.queue("3", APP, {"x86_64": machine.build(APP, "x86_64")})
    publish_all(machine)
    assert machine.status()["signing"] == "locked"
    assert machine.status()["waiting"] == ["3"]
    assert not machine.settings.results.joinpath("3.json").exists()
    assert not machine.refs()
    signing.unlock(machine.settings, PASSPHRASE)
    publish_all(machine)
    assert machine.result("3")["status"] == "published"


def test_a_key_locked_in_the_middle_of_a_job_loses_nothing(machine, monkeypatch):
    machine.queue("3", APP, {"x86_64": machine.build(APP, "x86_64")})
    commit = publisher.Repository.commit

    def after_a_reboot(self, *arguments):
        machine.stop_agent()
        machine.start_agent()
        commit(self, *arguments)

    monkeypatch.setattr(publisher.Repository, "commit", after_a_reboot)
    publish_all(machine)
    monkeypatch.undo()
    assert machine.status()["signing"] == "locked"
    assert not machine.settings.results.joinpath("3.json").exists()
    assert not {ref for ref in machine.refs() if ref.startswith("app/")}
    signing.unlock(machine.settings, PASSPHRASE)
    publish_all(machine)
    assert machine.result("3")["status"] == "published"


def test_killed_between_the_result_and_the_clean_up_the_result_stands(machine):
    machine.queue("5", APP, {"x86_64": machine.build(APP, "x86_64")})
    publish_all(machine)
    before = machine.result("5")
    (machine.settings.work / "5/stage").mkdir(parents=True)
    publish_all(machine)
    assert machine.result("5") == before
    assert not (machine.settings.work / "5").exists()


def test_a_job_may_be_offered_again_after_it_failed(machine):
    machine.queue("5", APP, {"x86_64": _incomplete(machine)})
    publish_all(machine)
    assert machine.result("5")["status"] == "failed"
    machine.queue("5", APP, {"x86_64": machine.build(APP, "x86_64")})
    publish_all(machine)
    assert machine.result("5")["status"] == "published"


def test_only_one_publisher_runs(machine, capsys):
    import fcntl

    with (machine.settings.work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert publisher.main(machine.settings) == 1
    assert "another publisher is running" in capsys.readouterr().err


def with_publisher(machine):
    """Settings whose publisher command really starts one, as systemctl does."""
    from dataclasses import replace

    code = (
        f"import sys; from pathlib import Path; sys.path.insert(0, {os.path.dirname(publisher.__file__)!r})\n"
        "import publisher; from publishing.settings import Settings\n"
        f"publisher.main(Settings(root=Path({str(machine.root)!r}), "
        f"unpack_command={machine.settings.unpack_command!r}, restricted={machine.settings.restricted!r}))"
    )
    return replace(machine.settings, publisher_command=(sys.executable, "-B", "-c", code))


def test_a_request_is_published_and_reported(machine):
    machine.offer("11", APP, {"x86_64": machine.build(APP, "x86_64")})
    said = []
    assert request.publish(with_publisher(machine), "11", 120, said.append) == 0
    assert said[-1] == f"published {AMD64} {machine.result('11')['refs'][AMD64]}"
    # Asked again, after the worker was killed while it waited: the same answer; once more with what was transferred.
    assert request.publish(with_publisher(machine), "11", 120, said.append) == 0
    machine.offer("11", APP, {"x86_64": machine.build(APP, "x86_64")})
    assert request.publish(with_publisher(machine), "11", 120, said.append) == 0
    assert machine.leftovers() == []


def test_a_request_that_fails_says_why(machine):
    machine.offer("11", APP, {"x86_64": machine.build(APP, "i386")})
    said = []
    assert request.publish(with_publisher(machine), "11", 120, said.append) == 1
    assert "is missing" in said[-1]


def lock(machine):
    """As after a reboot."""
    machine.stop_agent()
    machine.start_agent()


def test_a_request_says_that_the_key_is_locked_and_leaves_the_job_in_the_spool(machine):
    lock(machine)
    machine.offer("11", APP, {"x86_64": machine.build(APP, "x86_64")})
    said = []
    assert request.publish(with_publisher(machine), "11", 2, said.append) == 1
    assert "no result" in said[-1] and "locked" in said[-1]
    assert (machine.settings.queue / "11").is_dir()


def test_a_job_that_is_handed_over_again_while_it_waits_is_published_once(machine):
    lock(machine)
    repositories = {"x86_64": machine.build(APP, "x86_64")}
    for _ in range(2):
        machine.offer("11", APP, repositories)
        said = []
        assert request.publish(with_publisher(machine), "11", 0, said.append) == 1
        assert "locked" in said[-1] or "has not started" in said[-1]
        assert not list(machine.settings.incoming.iterdir())
    signing.unlock(machine.settings, PASSPHRASE)
    assert request.publish(with_publisher(machine), "11", 120, said.append) == 0
    assert machine.leftovers() == []


def test_another_job_of_the_same_name_does_not_take_the_place_of_one_that_waits(machine):
    repositories = {"x86_64": machine.build(APP, "x86_64")}
    machine.queue("11", APP, repositories)
    machine.offer("11", APP, repositories, subject="Another commit")
    said = []
    assert request.publish(machine.settings, "11", 0, said.append) == 1
    assert said == ["not published: another job 11 is in the queue already"]


def test_a_job_that_is_withdrawn_is_not_published(machine):
    lock(machine)
    machine.offer("11", APP, {"x86_64": machine.build(APP, "x86_64")})
    said = []
    assert request.publish(with_publisher(machine), "11", 0, said.append) == 1
    assert request.withdraw(machine.settings, "11", said.append) == 0
    assert said[-1] == "11 is withdrawn"
    assert not list(machine.settings.incoming.iterdir())
    signing.unlock(machine.settings, PASSPHRASE)
    publish_all(machine)
    assert AMD64 not in machine.refs()
    assert machine.leftovers() == []


def test_a_job_that_is_at_work_or_done_is_not_withdrawn(machine):
    machine.queue("11", APP, {"x86_64": machine.build(APP, "x86_64")})
    lock(machine)
    publisher.Spool(machine.settings).take("11")
    publish_all(machine)
    said = []
    assert request.withdraw(machine.settings, "11", said.append) == 1
    assert "11 is at work" in said[-1]
    signing.unlock(machine.settings, PASSPHRASE)
    publish_all(machine)
    assert machine.result("11")["status"] == "published"
    assert request.withdraw(machine.settings, "11", said.append) == 0
    assert said[-1] == "11 is not in the queue"
    assert request.withdraw(machine.settings, "../11", said.append) == 1


def test_a_job_that_is_withdrawn_while_the_publisher_takes_it_stops_no_other(machine, monkeypatch):
    machine.queue("11", APP, {"x86_64": machine.build(APP, "x86_64")})
    machine.queue("12", "org.flathub.Good", {"x86_64": machine.build("org.flathub.Good", "x86_64")})
    take = publisher.Spool.take

    def take_late(spool, job):
        if job == "11":
            assert request.withdraw(machine.settings, job, print) == 0
        take(spool, job)

    monkeypatch.setattr(publisher.Spool, "take", take_late)
    publish_all(machine)
    assert machine.result("12")["status"] == "published"
    assert AMD64 not in machine.refs()
    assert machine.leftovers() == []


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "-x", "é", "x" * 65])
def test_a_request_for_a_hostile_name_is_refused(machine, name):
    said = []
    assert request.publish(machine.settings, name, 1, said.append) == 1
    assert "not published" in said[-1]


def test_a_request_for_nothing_is_refused(machine):
    said = []
    assert request.publish(machine.settings, "404", 1, said.append) == 1
    assert "there is no job 404" in said[-1]


def test_a_job_that_cannot_be_removed_stops_no_other(machine, monkeypatch):
    machine.queue("1", APP, {"x86_64": machine.build(APP, "i386")})
    machine.queue("2", APP, {"x86_64": machine.build(APP, "x86_64")})
    real = publisher.Spool.remove.__globals__["shutil"].rmtree

    def refuse(path, **options):
        # As for a directory of the worker's in one that only the worker may enter.
        if path.name != "1":
            real(path, **options)

    monkeypatch.setattr("publishing.spool.shutil.rmtree", refuse)
    publish_all(machine)
    monkeypatch.undo()
    assert (machine.result("1")["status"], machine.result("2")["status"]) == ("failed", "published")
    assert machine.status()["waiting"] == []


def test_what_was_put_out_of_the_way_goes(machine):
    for aside in (machine.settings.work / ".left-1-2/job", machine.settings.queue / ".refused-3-4"):
        aside.mkdir(parents=True)
    publish_all(machine)
    assert machine.leftovers() == []


def test_a_job_that_cannot_be_taken_stops_no_other(machine):
    machine.queue("2", APP, {"x86_64": machine.build(APP, "x86_64")})
    # A file where the worker puts directories.
    (machine.settings.queue / "1").write_text("")
    publish_all(machine)
    assert (machine.result("1")["status"], machine.result("2")["status"]) == ("failed", "published")
    assert machine.leftovers() == []


def test_a_program_is_ended_for_what_is_urgent_and_at_its_deadline():
    with pytest.raises(Interrupted):
        command.run(["sleep", "1000"], 60, data=b"x" * 10**6, urgent=lambda: True)
    with pytest.raises(command.CommandFailed, match="stopped after 1 s"):
        command.run(["sleep", "1000"], 1, urgent=lambda: False)
    assert command.run(["cat"], 60, data=b"x" * 10**6, urgent=lambda: False) == "x" * 10**6
    with pytest.raises(command.CommandFailed, match="no-such-program"):
        command.run(["no-such-program"])
