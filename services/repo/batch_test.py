"""Jobs that are published together."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from client_test import APP, client_with_remote, pull_everything
from publishing import signing
from publishing.builds import Build, Builds
from publishing.job import InvalidJob, parse
from publishing.listing import Listing
from publishing.repository import Repository
from publishing.step import STEPS
from repository_machine_test import PASSPHRASE

AMD64, I386 = f"app/{APP}/x86_64/stable", f"app/{APP}/i386/stable"
OTHER = "org.flathub.Other"


def queue(machine, job, text, app=APP, architectures=("x86_64",)):
    machine.queue(job, app, {a: machine.build(app, a, text) for a in architectures})


def counted(monkeypatch):
    """Names of the steps, as they are done."""
    done = []
    monkeypatch.setattr("publishing.step.report", lambda name, _: done.append(name))
    return done


def test_jobs_that_wait_are_one_batch(machine, address, monkeypatch):
    done = counted(monkeypatch)
    apps = [f"org.flathub.App{number}" for number in range(4)]
    for number, app in enumerate(apps, start=1):
        queue(machine, str(number), "Hello", app)
    assert machine.publish() == 0
    assert [machine.result(str(number))["status"] for number in range(1, 5)] == ["published"] * 4
    assert (done.count("move"), done.count("unpack")) == (1, 4)
    seen = pull_everything(machine, address)
    for number, app in enumerate(apps, start=1):
        ref = f"app/{app}/x86_64/stable"
        assert seen[ref] == machine.result(str(number))["refs"][ref]
    assert machine.leftovers() == []


def test_a_batch_has_an_end(machine, monkeypatch):
    done = counted(monkeypatch)
    for number in range(1, 4):
        queue(machine, str(number), "Hello", f"org.flathub.App{number}")
    assert machine.publish(batch_jobs=2) == 0
    assert (done.count("move"), done.count("unpack")) == (2, 3)


def test_the_newer_of_two_builds_wins(machine):
    queue(machine, "9", "nine")
    queue(machine, "10", "ten")
    assert machine.publish() == 0
    assert machine.result("10")["status"] == "published"
    assert (machine.result("9")["status"], machine.result("9")["error"]) == ("failed", "superseded by build 10")
    assert machine.head(AMD64) == machine.result("10")["refs"][AMD64]
    assert machine.parent(machine.head(AMD64)) is None


def test_an_older_build_is_published_if_the_newer_one_is_bad(machine):
    queue(machine, "9", "nine")
    machine.queue("10", APP, {"x86_64": machine.build(APP, "i386")})
    assert machine.publish() == 0
    assert (machine.result("9")["status"], machine.result("10")["status"]) == ("published", "failed")


def test_a_build_never_takes_the_place_of_a_newer_one(machine):
    queue(machine, "10", "ten")
    assert machine.publish() == 0
    queue(machine, "9", "nine")
    assert machine.publish() == 0
    assert machine.result("9")["error"] == "superseded by build 10, which is published"
    assert machine.head(AMD64) == machine.result("10")["refs"][AMD64]
    # Not even when the newer one changed nothing.
    queue(machine, "12", "ten")
    queue(machine, "11", "eleven", OTHER)
    assert machine.publish() == 0
    queue(machine, "11", "eleven")
    assert machine.publish() == 0
    assert machine.result("11")["error"] == "superseded by build 12, which is published"


def test_numbers_that_began_anew(machine):
    """After the loss of the master's database: a small number, but made long after what is published."""
    queue(machine, "5000", "old")
    assert machine.publish() == 0
    record = machine.settings.builds / f"{APP}.json"
    build = json.loads(record.read_text())
    record.write_text(json.dumps({**build, "made": build["made"] - 25 * 3600}))
    queue(machine, "1", "new")
    assert machine.publish() == 0
    assert machine.result("1")["status"] == "published"
    assert Builds(machine.settings).published(APP).number == 1


def test_an_operator_forgets_the_numbers(machine):
    queue(machine, "5000", "old")
    assert machine.publish() == 0
    (machine.settings.builds / f"{APP}.json").unlink()
    queue(machine, "1", "new")
    assert machine.publish() == 0
    assert machine.result("1")["status"] == "published"


def test_the_same_build_again_is_published_again(machine):
    for _ in range(2):
        queue(machine, "5", "five")
        assert machine.publish() == 0
        assert machine.result("5")["status"] == "published"


def test_require_newer_names_the_build_that_is_published(machine):
    builds = Builds(machine.settings)
    builds.record(APP, Build(7, 1_000_000))
    text = json.dumps(
        {"id": "6", "app": APP, "commit": "0" * 40, "subject": "", "branch": "stable",
         "architectures": ["arm"], "sha256": {"arm": "0" * 64}}
    )  # fmt: skip
    with pytest.raises(InvalidJob, match="superseded by build 7"):
        builds.require_newer(parse(text, "6"), 1_000_000 + 24 * 3600)
    builds.require_newer(parse(text, "6"), 1_000_001 + 24 * 3600)


def test_a_damaged_tar_is_not_unpacked(machine, monkeypatch):
    done = counted(monkeypatch)
    queue(machine, "3", "three")
    tar = machine.settings.queue / "3/x86_64.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    assert machine.publish() == 0
    assert "x86_64.tar: its SHA-256 is" in machine.result("3")["error"]
    assert "unpack" not in done


def test_one_bad_architecture_holds_all_back_and_no_other_job(machine):
    machine.queue("1", APP, {"x86_64": machine.build(APP, "x86_64"), "i386": machine.build(APP, "arm")})
    queue(machine, "2", "good", OTHER)
    assert machine.publish() == 0
    assert (machine.result("1")["status"], machine.result("2")["status"]) == ("failed", "published")
    assert AMD64 not in machine.refs()


def test_no_room_fails_the_job_before_anything_is_written(machine):
    assert machine.publish() == 0
    queue(machine, "1", "big")
    before = machine.served_refs()
    assert machine.publish(min_free_bytes=10**17) == 0
    assert "no room to publish it" in machine.result("1")["error"]
    assert machine.served_refs() == before and machine.leftovers() == []


def test_a_volume_that_is_full_when_it_comes_to_listing(machine):
    queue(machine, "1", "first")
    assert machine.publish() == 0
    config = ["ostree", f"--repo={machine.settings.repository}", "config", "set", "core.min-free-space-size"]
    subprocess.run([*config, "900000GB"], check=True)
    queue(machine, "2", "second")
    before = machine.head("appstream2/x86_64")
    assert machine.publish() == 1, "systemd shows that something is left to do"
    assert machine.result("2")["status"] == "published"
    assert machine.head("appstream2/x86_64") == before
    subprocess.run([*config, "1MB"], check=True)
    assert machine.publish() == 0
    assert machine.served_refs()["appstream2/x86_64"] == machine.head("appstream2/x86_64") != before
    machine.fsck()


def test_what_is_decided_is_published_although_the_tars_are_gone(machine):
    queue(machine, "1", "first")
    killed = machine.publish_in_process(
        "from publishing import step\n"
        "step.report = lambda name, _: os.killpg(0, signal.SIGKILL) if name == 'decide' else None"
    )
    assert killed.returncode != 0
    shutil.rmtree(machine.settings.work / "1/job")
    assert machine.publish() == 0
    assert machine.result("1")["status"] == "published"


def test_a_decided_batch_waits_for_the_key(machine, address):
    queue(machine, "1", "first")
    killed = machine.publish_in_process(
        "from publishing import step\n"
        "step.report = lambda name, _: os.killpg(0, signal.SIGKILL) if name == 'move' else None"
    )
    assert killed.returncode != 0
    machine.stop_agent()
    machine.start_agent()
    assert machine.publish() == 0
    assert machine.status()["signing"] == "locked" and machine.status()["waiting"] == ["1"]
    assert pull_everything(machine, address, "before") == {}
    signing.unlock(machine.settings, PASSPHRASE)
    assert machine.publish() == 0
    assert machine.result("1")["status"] == "published"
    assert AMD64 in pull_everything(machine, address, "after")


def test_what_clients_have_is_not_taken_back(machine, monkeypatch):
    queue(machine, "1", "first")
    assert machine.publish() == 0
    queue(machine, "2", "second")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Builds, "record", full)
    with pytest.raises(OSError, match="No space left"):
        machine.publish()
    assert machine.served_refs()[AMD64] == machine.head(AMD64) != machine.result("1")["refs"][AMD64]
    assert not (machine.settings.results / "2.json").exists()
    monkeypatch.undo()
    assert machine.publish() == 0
    assert machine.result("2")["status"] == "published"
    assert machine.result("2")["refs"][AMD64] == machine.served_refs()[AMD64] == machine.head(AMD64)
    assert Builds(machine.settings).published(APP).number == 2


def test_what_is_served_needs_no_second_summary(machine, monkeypatch):
    queue(machine, "1", "first")
    killed = machine.publish_in_process(
        "from publishing import listing\nlisting.Listing.add = lambda *_: os.killpg(0, signal.SIGKILL)"
    )
    assert killed.returncode == -signal.SIGKILL
    done = counted(monkeypatch)
    assert machine.publish() == 0
    assert machine.result("1")["status"] == "published"
    assert "move" not in done and done.index("results") < done.index("summary")


ANSWERS = {
    "of another job": 'Path({answer!r}).write_text(\'{{"id": "2", "error": null}}\')',
    "none": "pass",
    "ended": "sys.exit(1)",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_unpacker_that_still_ran_for_a_publisher_that_was_killed(machine, answer):
    """Its unit was not started anew: it is once more."""
    first = ANSWERS[answer].format(answer=str(machine.settings.unpack_answer))
    once = (
        "import subprocess, sys\nfrom pathlib import Path\n"
        f"mark = Path({str(machine.root / 'started')!r})\n"
        "if mark.exists():\n    sys.exit(subprocess.run(sys.argv[1:]).returncode)\n"
        f"mark.touch()\n{first}\n"
    )
    queue(machine, "1", "first")
    assert machine.publish(unpack_command=(sys.executable, "-c", once, *machine.settings.unpack_command)) == 0
    assert (machine.result("1")["status"], machine.result("1")["error"]) == ("published", None)


def test_an_unpacker_that_never_answers(machine):
    queue(machine, "1", "first")
    assert machine.publish(unpack_command=("true",)) == 0
    assert "unpacking ended early" in machine.result("1")["error"]


def test_a_build_that_would_hold_up_the_list_is_refused(machine):
    """Inert: the list's source is only large."""
    queue(machine, "1", "x" * 2 * 1024**2)
    queue(machine, "2", "good", OTHER)
    assert machine.publish() == 0
    assert f"files/share/app-info/xmls/{APP}.xml.gz: larger than" in machine.result("1")["error"]
    assert machine.result("2")["status"] == "published"
    assert "appstream2/x86_64" in machine.served_refs()


@pytest.mark.parametrize("error", [InvalidJob("a ref that is empty"), OSError(errno.ENOSPC, "No space left")])
def test_whatever_stops_the_list_stops_no_job(machine, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(Listing, "_make_lists", failing)
    queue(machine, "1", "first")
    assert machine.publish() == 1
    assert machine.result("1")["status"] == "published"
    monkeypatch.undo()
    assert machine.publish() == 0
    assert "appstream2/x86_64" in machine.served_refs()


def test_a_run_goes_through_all_its_steps(machine, monkeypatch):
    done = counted(monkeypatch)
    assert machine.publish() == 0
    queue(machine, "1", "first")
    assert machine.publish(list_delta_interval_seconds=0, prune_interval_seconds=0) == 0
    assert machine.publish(list_delta_interval_seconds=0, prune_interval_seconds=0) == 0
    assert set(STEPS) - set(done) == {"undo"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_what_is_imported_is_a_copy_that_the_unpacker_cannot_change(machine):
    source = machine.build(APP, "x86_64")
    subprocess.run(["chown", "-R", "65534", source], check=True)
    target = Repository(machine.settings, "no key").scratch(machine.settings.work / "import")
    Repository(machine.settings, "no key").import_untrusted(source, target, [AMD64])
    objects = [path for path in (target / "objects").rglob("*") if path.is_file()]
    assert objects and {path.stat().st_uid for path in objects} == {os.geteuid()}


def test_an_update_is_one_delta(machine, address):
    queue(machine, "1", "first")
    assert machine.publish() == 0
    client = client_with_remote(machine, address)
    assert client.install().returncode == 0
    queue(machine, "2", "second")
    assert machine.publish() == 0
    listed = subprocess.run(
        ["ostree", f"--repo={machine.settings.repository}", "static-delta", "list"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    old, new = machine.result("1")["refs"][AMD64], machine.result("2")["refs"][AMD64]
    assert {old, new, f"{old}-{new}"} <= set(listed)
    updated = client.flatpak("update", "--user", "--noninteractive", "--no-deps", "--no-related")
    assert updated.returncode == 0, updated.stderr
