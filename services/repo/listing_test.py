"""Listing: after publishes, for many at once, and never in a job's way for long."""

import subprocess
import time

from client_test import APP, pull_everything
from publishing import deltas, signing
from publishing.deltas import Delta
from publishing.listing import Listing
from repository_machine_test import PASSPHRASE

LIST = "appstream2/x86_64"


def queue(machine, job, text, app=APP):
    machine.queue(job, app, {"x86_64": machine.build(app, "x86_64", text)})


def steps(monkeypatch):
    done = []
    monkeypatch.setattr("publishing.step.report", lambda name, _: done.append(name))
    return done


def test_results_come_before_the_list(machine, monkeypatch):
    done = steps(monkeypatch)
    queue(machine, "1", "first")
    assert machine.publish() == 0
    assert done.index("results") < done.index("list") < done.index("listed")


def test_one_list_for_many_publishes(machine, monkeypatch):
    done = steps(monkeypatch)
    for number in (1, 2, 3):
        queue(machine, str(number), "Hello", f"org.flathub.App{number}")
    assert machine.publish(batch_jobs=1) == 0
    assert (done.count("results"), done.count("list")) == (3, 1)


def test_the_list_does_not_wait_for_ever(machine, monkeypatch):
    done = steps(monkeypatch)
    for number in (1, 2, 3, 4):
        queue(machine, str(number), "Hello", f"org.flathub.App{number}")
    assert machine.publish(batch_jobs=1, list_after_publishes=2) == 0
    assert done.count("list") == 2
    assert done.index("list") < len(done) - 1 - done[::-1].index("results")


def test_overdue_after_a_time(machine):
    listing = Listing(machine.settings, None, None)
    assert not listing.is_pending() and not listing.is_overdue()
    listing.add(1)
    assert listing.is_pending() and not listing.is_overdue()
    (machine.settings.work / "unlisted.json").write_text(f'{{"since": {time.time() - 601}, "publishes": 1}}')
    assert listing.is_overdue()
    listing.give_up()
    assert listing.is_pending() and not listing.is_overdue()


def test_an_update_of_the_list_is_one_delta(machine, address):
    queue(machine, "1", "first")
    assert machine.publish() == 0
    old = machine.served_refs()[LIST]
    queue(machine, "2", "second")
    assert machine.publish() == 0
    new = machine.served_refs()[LIST]
    assert new != old and deltas.exists(machine.settings.repository, Delta(old, new))
    assert pull_everything(machine, address)[LIST] == new


def test_the_whole_list_is_a_delta_at_most_now_and_then(machine):
    queue(machine, "1", "first")
    assert machine.publish() == 0
    first = machine.served_refs()[LIST]
    assert deltas.exists(machine.settings.repository, Delta(None, first)), "the first is due at once"
    deltas.check_index(machine.settings.repository, first)
    queue(machine, "2", "second")
    assert machine.publish() == 0
    assert not deltas.exists(machine.settings.repository, Delta(None, machine.served_refs()[LIST]))
    assert machine.publish(list_delta_interval_seconds=0) == 0
    assert deltas.exists(machine.settings.repository, Delta(None, machine.served_refs()[LIST]))


def test_a_job_interrupts_the_deltas_of_whole_lists(machine, monkeypatch):
    queue(machine, "1", "first")
    machine.offer("2", APP, {"x86_64": machine.build(APP, "x86_64", "second")})
    done = steps(monkeypatch)
    real = subprocess.Popen

    def slow(words, **options):
        if "--empty" in words and "whole" not in done and "listed" in done and "2" not in results(machine):
            (machine.settings.incoming / "2").rename(machine.settings.queue / "2")
            words = ["sleep", "1000"]
        return real(words, **options)

    monkeypatch.setattr("publishing.command.subprocess.Popen", slow)
    assert machine.publish() == 0
    assert machine.result("2")["status"] == "published"
    assert deltas.exists(machine.settings.repository, Delta(None, machine.served_refs()[LIST]))


def results(machine):
    waiting = (machine.settings.incoming, machine.settings.queue, machine.settings.work, machine.settings.results)
    return {entry.name.removesuffix(".json") for place in waiting[1:] for entry in place.iterdir()}


def test_a_list_waits_for_the_key(machine, monkeypatch):
    queue(machine, "1", "first")
    real = Listing.run

    def locked(self, urgent):
        machine.stop_agent()
        machine.start_agent()
        real(self, urgent)

    monkeypatch.setattr(Listing, "run", locked)
    assert machine.publish() == 0
    monkeypatch.undo()
    assert machine.result("1")["status"] == "published"
    assert machine.status()["signing"] == "locked"
    assert LIST not in machine.served_refs()
    signing.unlock(machine.settings, PASSPHRASE)
    assert machine.publish() == 0
    assert LIST in machine.served_refs()


def test_a_delta_that_takes_too_long_is_done_without(machine, address, monkeypatch, capsys):
    real = subprocess.Popen
    monkeypatch.setattr(
        "publishing.command.subprocess.Popen",
        lambda words, **options: real(["sleep", "1000"] if "generate" in words else words, **options),
    )
    queue(machine, "1", "first")
    assert machine.publish(delta_timeout_seconds=1) == 0
    assert machine.result("1")["status"] == "published"
    assert "without the static delta from scratch" in capsys.readouterr().out
    pull_everything(machine, address)
