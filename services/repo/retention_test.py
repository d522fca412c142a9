"""What is kept, and what goes."""

import os
import subprocess
import time

import pytest

from client_test import APP, pull_everything
from publishing import deltas, request
from publishing.retention import depth, kept_depth, remove_old

AMD64 = f"app/{APP}/x86_64/stable"


def publish(machine, job, text, **changes):
    machine.queue(job, APP, {"x86_64": machine.build(APP, "x86_64", text)})
    assert machine.publish(**changes) == 0
    return machine.result(job)["refs"][AMD64]


def exists(machine, commit):
    return (machine.settings.repository / f"objects/{commit[:2]}/{commit[2:]}.commit").exists()


@pytest.mark.parametrize(
    ("ref", "commits"),
    [
        ("app/org.flathub.Hello/x86_64/stable", 8),
        ("runtime/org.flathub.Hello.Locale/arm/stable", 8),
        ("runtime/org.flathub.Hello.Debug/arm/stable", 1),
        ("appstream2/arm", 2),
        ("appstream/arm", 2),
    ],
)
def test_the_depth_of_each_kind(ref, commits):
    assert depth(ref) == commits


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("app/org.flathub.Hello/x86_64/stable", [None, "a"]),
        ("runtime/org.flathub.Platform/x86_64/1", [None, "a"]),
        ("runtime/org.flathub.Hello.Locale/x86_64/stable", []),
        ("runtime/org.flathub.Hello.Debug/x86_64/stable", []),
        ("runtime/org.flathub.Hello.Sources/x86_64/stable", []),
        ("appstream2/x86_64", []),
    ],
)
def test_the_deltas_of_each_kind(ref, found):
    assert [delta.start for delta in deltas.wanted({ref: ("a", "b")})] == found
    assert deltas.wanted({ref: (None, "b")}) == ([deltas.Delta(None, "b")] if found else [])


def test_a_delta_is_where_ostree_puts_it():
    zeros, ones = "00" * 32, "ff" * 32
    assert deltas.Delta(None, zeros).name == "AA/" + "A" * 41
    assert deltas.Delta(ones, zeros).name.startswith("__/") and deltas.Delta(ones, zeros).name.endswith("8-" + "A" * 43)


def test_commits_beyond_the_depth_go_after_their_grace(machine, address, monkeypatch):
    monkeypatch.setattr("publishing.retention._DEPTH", 1)
    first, second, third = (publish(machine, str(n), f"version {n}") for n in (1, 2, 3))
    assert machine.publish(prune_interval_seconds=0) == 0
    assert exists(machine, first), "somebody may be at it"
    assert machine.publish(prune_interval_seconds=0, commit_grace_seconds=-10) == 0
    assert [exists(machine, commit) for commit in (first, second, third)] == [False, True, True]
    machine.fsck()
    assert pull_everything(machine, address)[AMD64] == third
    # What is published next has the parent that is kept, and what was pruned is not missed.
    fourth = publish(machine, "4", "version 4")
    assert machine.parent(fourth) == third


def test_on_a_full_volume_old_commits_go_at_once(machine, monkeypatch):
    monkeypatch.setattr("publishing.retention._DEPTH", 1)
    first, *_ = (publish(machine, str(n), f"version {n}") for n in (1, 2, 3))
    low = {"low_space_fraction": 1.0, "commit_grace_seconds": -10}
    assert machine.publish(low_space_fraction=0.0, commit_grace_seconds=-10) == 0
    assert machine.publish(**low) == 0
    assert exists(machine, first), "an hour after the last time, and not before"
    assert machine.publish(low_space_prune_interval_seconds=0, **low) == 0
    assert not exists(machine, first)


def test_the_grace_counts_from_when_another_took_its_place(machine):
    first, second = publish(machine, "1", "one"), publish(machine, "2", "two")
    repository, now = machine.settings.repository, time.time()
    assert kept_depth(repository, "runtime/x.Debug/arm/stable", second, now, 60) == 1
    assert kept_depth(repository, "runtime/x.Debug/arm/stable", second, now + 3600, 60) == 1
    assert kept_depth(repository, "appstream2/x", first, now, 60) == 2


def test_deltas_that_nothing_names_go(machine):
    first = publish(machine, "1", "first")
    second = publish(machine, "2", "second", prune_interval_seconds=0)
    repository = machine.settings.repository
    assert deltas.exists(repository, deltas.Delta(None, first)), "a served directory still names it"
    # A directory that is kept for its refs only counts as well: three more publishes.
    for number in (3, 4, 5):
        publish(machine, str(number), f"version {number}", served_grace_seconds=-10)
    assert machine.publish(served_grace_seconds=-10, prune_interval_seconds=0) == 0
    assert not deltas.exists(repository, deltas.Delta(None, first))
    assert not deltas.exists(repository, deltas.Delta(first, second))
    assert deltas.exists(repository, deltas.Delta(None, machine.head(AMD64)))


def test_a_removal_gives_way_to_a_job(machine, monkeypatch):
    """The first urgent job stops it; it is done again when nothing waits."""
    publish(machine, "1", "first")
    machine.offer("2", APP, {"x86_64": machine.build(APP, "x86_64", "second")})
    done = []
    monkeypatch.setattr("publishing.step.report", lambda name, _: done.append(name))
    real = subprocess.Popen

    def slow(words, **options):
        if "prune" in words and (machine.settings.incoming / "2").exists():
            (machine.settings.incoming / "2").rename(machine.settings.queue / "2")
            # Never ends by itself within the test's patience.
            words = ["sleep", "1000"]
        return real(words, **options)

    monkeypatch.setattr("publishing.command.subprocess.Popen", slow)
    assert machine.publish(prune_interval_seconds=0) == 0
    assert machine.result("2")["status"] == "published"
    assert done.index("results") < done.index("prune")


def test_a_removal_that_is_long_overdue_does_not(machine, monkeypatch):
    publish(machine, "1", "first")
    machine.offer("2", APP, {"x86_64": machine.build(APP, "x86_64", "second")})
    done = []
    monkeypatch.setattr("publishing.step.report", lambda name, _: done.append(name))
    real = subprocess.Popen

    def with_job(words, **options):
        if "prune" in words and (machine.settings.incoming / "2").exists():
            (machine.settings.incoming / "2").rename(machine.settings.queue / "2")
        return real(words, **options)

    monkeypatch.setattr("publishing.command.subprocess.Popen", with_job)
    assert machine.publish(prune_interval_seconds=0, prune_overdue_seconds=0) == 0
    assert done.index("prune") < done.index("results")
    assert machine.result("2")["status"] == "published"


def test_old_results_go(machine):
    publish(machine, "1", "first")
    old = machine.settings.results / "7.json"
    old.write_text("{}")
    os.utime(old, (1, 1))
    assert machine.publish() == 0
    assert not old.exists() and (machine.settings.results / "1.json").exists()


def test_only_files_are_removed(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "file").touch()
    assert remove_old(tmp_path, -1) == ["file"]


def test_transfers_that_were_never_requested_go(machine):
    for job in ("1", "2"):
        machine.offer(job, APP, {"x86_64": machine.build(APP, "x86_64")})
    for path in (*(machine.settings.incoming / "1").iterdir(), machine.settings.incoming / "1"):
        os.utime(path, (1, 1))
    assert request.room(machine.settings, 0, print) == 0
    assert [entry.name for entry in machine.settings.incoming.iterdir()] == ["2"]


def test_room_is_asked_for(machine, capsys):
    assert request.room(machine.settings, 1000, print) == 0
    assert request.room(machine.settings, 10**17, print) == 1
    assert f"no room for {10**17} bytes" in capsys.readouterr().out
