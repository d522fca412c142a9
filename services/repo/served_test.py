"""The served directories."""

import os
import shutil
import time
from dataclasses import replace

import pytest

from client_test import APP, client_with_remote, pull_everything
from publishing import deltas, summary
from publishing.repository import Repository
from publishing.served import Served
from publishing.settings import Settings
from publishing.signing import fingerprint

AMD64 = f"app/{APP}/x86_64/stable"


def served(machine) -> Served:
    return Served(machine.settings, Repository(machine.settings, fingerprint(machine.settings)))


def publish(machine, job, text):
    machine.queue(job, APP, {"x86_64": machine.build(APP, "x86_64", text)})
    assert machine.publish() == 0


def tree(directory):
    heads = directory / "refs/heads"
    return {str(path.relative_to(heads)): path.read_text().strip() for path in heads.rglob("*") if path.is_file()}


def test_the_files_of_the_refs_are_what_the_summary_says(machine):
    for number in range(1, 5):
        publish(machine, str(number), f"version {number}")
        current = machine.settings.served / "current"
        assert tree(current) == machine.served_refs() == summary.read_refs(current, summary.read_index(current))
        assert machine.served_refs()[AMD64] == machine.result(str(number))["refs"][AMD64]


def test_a_ref_that_is_removed_is_not_served_any_more(machine):
    publish(machine, "1", "first")
    repository = Repository(machine.settings, fingerprint(machine.settings))
    repository.set_refs({AMD64: None})
    publish_again = served(machine)
    publish_again.publish()
    assert AMD64 not in tree(machine.settings.served / "current")


def test_the_one_before_is_kept_whole(machine):
    for number in ("1", "2"):
        publish(machine, number, number)
    current, before = served(machine).numbers()[:2]
    for number in (current, before):
        directory = machine.settings.served / str(number)
        summary.verify(machine.settings, directory, summary.read_index(directory))
        assert tree(directory) == served(machine).refs(directory)


def test_a_client_with_the_index_before_finds_what_it_names(machine):
    publish(machine, "1", "first")
    old = summary.read_index(machine.settings.served / "current")
    publish(machine, "2", "second")
    publish(machine, "3", "third")
    now = machine.settings.served / "current/summaries"
    assert (now / f"{old.checksum}.idx.sig").exists()
    for checksum in old.summaries.values():
        assert (now / f"{checksum}.gz").exists()


def test_what_was_replaced_long_ago_goes(machine):
    for number in ("1", "2", "3"):
        publish(machine, number, number)
    assert len(served(machine).numbers()) > 3
    machine.publish(served_grace_seconds=-10)
    # And the one whose refs the next directory is made of.
    assert len(served(machine).numbers()) == 3


def test_there_are_never_too_many(machine):
    for number in ("1", "2", "3"):
        publish(machine, number, number)
    machine.publish(served_directories=2)
    assert len(served(machine).numbers()) == 3


def test_killed_while_an_old_one_is_removed(machine, monkeypatch):
    for number in ("1", "2", "3"):
        publish(machine, number, number)

    class Killed(BaseException):
        pass

    def half(path, **_):
        (path / "summary.idx").unlink()
        raise Killed

    monkeypatch.setattr("publishing.served.shutil.rmtree", half)
    with pytest.raises(Killed):
        served(replace(machine, settings=replace(machine.settings, served_grace_seconds=-10))).retire()
    monkeypatch.undo()
    publish(machine, "4", "four")
    assert machine.result("4")["status"] == "published"
    assert machine.leftovers() == []


@pytest.mark.parametrize("content", ["", "{"])
def test_a_spare_tree_of_which_nobody_knows_what_it_names(machine, content):
    assert machine.publish() == 0
    (machine.settings.served / "spare/.refs.json").write_text(content)
    for number in ("1", "2"):
        publish(machine, number, number)
        assert machine.result(number)["status"] == "published"
        assert tree(machine.settings.served / "current") == machine.served_refs()


def damage_signature(directory):
    # A signature of something else by the same key.
    shutil.copy(directory / "summary.idx.sig", directory / "summary.sig")


def damage_summary(directory):
    checksum = next(iter(summary.read_index(directory).summaries.values()))
    victim = directory / "summaries" / f"{checksum}.gz"
    other = victim.read_bytes()[:-9] + b"123456789"
    victim.unlink()
    victim.write_bytes(other)


def lose_index_signature(directory):
    for file in (directory / "summaries").glob("*.idx.sig"):
        file.unlink()


@pytest.mark.parametrize("damage", [damage_signature, damage_summary, lose_index_signature])
def test_what_a_client_would_refuse_is_never_switched_to(machine, damage, monkeypatch):
    publish(machine, "1", "first")
    before = served(machine).current()
    real = Repository.summarise

    def damaged(self):
        real(self)
        damage(machine.settings.repository)

    monkeypatch.setattr(Repository, "summarise", damaged)
    machine.queue("2", APP, {"x86_64": machine.build(APP, "x86_64", "second")})
    assert machine.publish() == 0
    assert machine.result("2")["status"] == "failed"
    assert served(machine).current() == before
    monkeypatch.undo()
    publish(machine, "3", "third")
    assert served(machine).refs()[AMD64] == machine.result("3")["refs"][AMD64]


@pytest.mark.parametrize("kind", ["commit", "commitmeta"])
def test_a_summary_that_names_what_is_missing_is_never_switched_to(machine, kind, monkeypatch):
    publish(machine, "1", "first")
    before = served(machine).current()
    machine.queue("2", APP, {"x86_64": machine.build(APP, "x86_64", "second")})
    real = Served._check

    def missing(self, new, index, refs, expected):
        commit = refs[AMD64]
        (machine.settings.repository / f"objects/{commit[:2]}/{commit[2:]}.{kind}").unlink()
        real(self, new, index, refs, expected)

    monkeypatch.setattr(Served, "_check", missing)
    assert machine.publish() == 0
    assert "is missing" in machine.result("2")["error"]
    assert served(machine).current() == before


def test_a_delta_that_is_missing_is_noticed(machine, monkeypatch):
    publish(machine, "1", "first")
    machine.queue("2", APP, {"x86_64": machine.build(APP, "x86_64", "second")})
    real = deltas.index_missing

    def lost(settings, made):
        real(settings, made)
        shutil.rmtree(settings.repository / "deltas")

    monkeypatch.setattr(deltas, "index_missing", lost)
    assert machine.publish() == 0
    assert "superblock" in machine.result("2")["error"]


def test_a_repository_from_before_there_were_served_directories(machine, address):
    publish(machine, "1", "first")
    shutil.rmtree(machine.settings.served)
    machine.settings.served.mkdir()
    # No key is needed to serve what is signed already.
    machine.stop_agent()
    machine.start_agent()
    assert machine.publish() == 0
    assert machine.status()["signing"] == "locked"
    assert pull_everything(machine, address)[AMD64] == machine.result("1")["refs"][AMD64]
    assert client_with_remote(machine, address).install().returncode == 0


def test_a_directory_that_was_never_switched_to_is_made_again(machine):
    publish(machine, "1", "first")
    number = served(machine).numbers()[0]
    (machine.settings.served / str(number + 1) / "refs").mkdir(parents=True)
    assert served(machine).numbers()[0] == number
    publish(machine, "2", "second")
    assert machine.served_refs()[AMD64] == machine.result("2")["refs"][AMD64]
    assert tree(machine.settings.served / "current") == machine.served_refs()


def test_the_grace_counts_from_the_switch(tmp_path):
    settings = Settings(root=tmp_path)
    for number in range(1, 5):
        directory = settings.served / str(number)
        directory.mkdir(parents=True)
        (directory / ".refs.json").write_text("{}")
    (settings.served / "current").symlink_to("4")
    kept = Served(settings, None)
    kept.retire()
    assert kept.numbers() == [4, 3, 2, 1]
    assert time.time() - os.stat(settings.served / "4").st_ctime < settings.served_grace_seconds
