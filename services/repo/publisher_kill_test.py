"""The publisher is killed: what clients read stays right, and the next run finishes or undoes."""

import os
import random
import signal
import subprocess

import pytest

from client_test import APP, client_with_remote, pull_everything
from publishing import deltas
from publishing.batch import Decision, Publication
from publishing.step import STEPS

AMD64, I386 = f"app/{APP}/x86_64/stable", f"app/{APP}/i386/stable"

# The process kills its group, as systemd does with the unit of a process that died.
AFTER_STEP = """
from publishing import step
def killed(name, seconds):
    if name == {step!r}:
        os.killpg(0, signal.SIGKILL)
step.report = killed
"""

# Kills it when a program was started whose command line has a word, and runs it.
IN_COMMAND = """
from publishing import command
class Killed(command.subprocess.Popen):
    def __init__(self, words, **options):
        super().__init__(words, **options)
        if {word!r} in words:
            program = Path(f"/proc/{{self.pid}}/exe")
            while program.resolve().name == Path(sys.executable).resolve().name:
                pass
            os.killpg(0, signal.SIGKILL)
command.subprocess.Popen = Killed
"""

# Everything that is done now and then is due.
ALWAYS = {"list_delta_interval_seconds": 0, "prune_interval_seconds": 0}


def builds(machine, text):
    return {a: machine.build(APP, a, text) for a in ("x86_64", "i386")}


def settle(machine):
    """A repository with one version of the application, and another one in the queue."""
    machine.queue("4", APP, builds(machine, "Hello"))
    assert machine.publish() == 0
    assert machine.result("4")["status"] == "published"
    machine.queue("5", APP, builds(machine, "Hello again"))


def check_served(machine, address):
    """A client that comes now gets the one version or the other, of all architectures the same."""
    before = machine.result("4")["refs"]
    seen = pull_everything(machine, address)
    assert (seen[AMD64] == before[AMD64]) == (seen[I386] == before[I386])
    client = client_with_remote(machine, address)
    done = client.install()
    assert done.returncode == 0, done.stderr
    return client


def check_finished(machine, address, client):
    assert machine.publish() == 0
    result = machine.result("5")
    assert (result["status"], result["error"]) == ("published", None)
    machine.fsck()
    assert pull_everything(machine, address)[AMD64] == result["refs"][AMD64]
    updated = client.flatpak("update", "--user", "--noninteractive", "--no-deps", "--no-related")
    assert updated.returncode == 0, updated.stderr
    assert client.flatpak("info", "--user", "--show-commit", APP).stdout.strip() == result["refs"][AMD64]
    for ref, commit in result["refs"].items():
        assert machine.parent(commit) == machine.result("4")["refs"][ref], "published exactly once"
    assert machine.leftovers() == []


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("undo", "spare refs")])
def test_after_a_step(machine, address, step):
    settle(machine)
    killed = machine.publish_in_process(AFTER_STEP.format(step=step), **ALWAYS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    client = check_served(machine, address)
    check_finished(machine, address, client)


@pytest.mark.parametrize(
    "word",
    ["--untrusted", "build-commit-from", "--verify", "pull-local", "generate", "--no-update-appstream",
     "--file-system", "--no-update-summary"],
)  # fmt: skip
def test_in_a_command(machine, address, word):
    settle(machine)
    killed = machine.publish_in_process(IN_COMMAND.format(word=word))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    client = check_served(machine, address)
    check_finished(machine, address, client)


def test_at_random_instants(machine, address):
    """Several times in a row; test/soak does it on the whole stack, with other instants each time."""
    chance = random.Random(1)
    settle(machine)
    for _ in range(4):
        process, seconds = machine.start_publisher(**ALWAYS), chance.uniform(0.1, 4)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        print(f"killed after {seconds:.2f} s")
        pull_everything(machine, address, f"client-{seconds}")
    client = check_served(machine, address)
    check_finished(machine, address, client)


def test_before_anything_was_published(machine, address):
    killed = machine.publish_in_process(AFTER_STEP.format(step="spare refs"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert pull_everything(machine, address) == {}
    machine.queue("5", APP, builds(machine, "Hello"))
    assert machine.publish() == 0
    assert machine.result("5")["status"] == "published"
    assert machine.leftovers() == []


FAILING = """
from publishing import served
def failing(*_):
    raise served.Unverifiable("inert: not right")
served.Served._check = failing
"""


def check_taken_back(machine, before):
    result = machine.result("5")
    assert (result["status"], result["error"]) == ("failed", "inert: not right")
    assert machine.served_refs() == before
    assert {ref: machine.head(ref) for ref in (AMD64, I386)} == machine.result("4")["refs"]
    machine.fsck()


def test_a_batch_that_cannot_be_served_is_taken_back(machine):
    settle(machine)
    before = machine.served_refs()
    done = machine.publish_in_process(FAILING)
    assert done.returncode == 0, done.stderr
    check_taken_back(machine, before)


def test_killed_while_a_batch_is_taken_back(machine):
    settle(machine)
    before = machine.served_refs()
    killed = machine.publish_in_process(FAILING + AFTER_STEP.format(step="undo"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert machine.publish() == 0
    check_taken_back(machine, before)


def test_one_that_is_taken_back_is_not_served(machine):
    """What is in the repository is served as it is when there are no served directories: here with half a batch."""
    settle(machine)
    assert machine.publish() == 0
    old, new = (machine.result(job)["refs"] for job in ("4", "5"))
    moves = {ref: (old[ref], new[ref]) for ref in (AMD64, I386)}
    Decision([Publication("5", APP, 1, new)], moves, {}, undo="inert: not right").write(
        machine.settings.work / "batch.json"
    )
    assert machine.publish() == 0
    assert machine.result("5")["status"] == "failed"
    assert {ref: (machine.served_refs()[ref], machine.head(ref)) for ref in moves} == {
        ref: (old[ref], old[ref]) for ref in moves
    }


# What a power cut leaves of files that were not brought to the disk: their names.
TEAR = """
synced, fsync = set(), os.fsync
def recorded(descriptor):
    fsync(descriptor)
    found = os.fstat(descriptor)
    synced.add((found.st_dev, found.st_ino))
os.fsync = recorded
from publishing import step
from publishing.repository import Repository
def files():
    for folder, _, names in os.walk({root!r}):
        for path in (Path(folder, name) for name in names):
            try:
                yield (path.stat().st_dev, path.stat().st_ino), path
            except FileNotFoundError:
                pass  # a command that runs meanwhile has renamed it
real = Repository.sync
def sync(self):
    real(self)
    synced.update(key for key, _ in files())
Repository.sync = sync
def cut(name, seconds):
    if name == {step!r}:
        for key, path in files():
            # Objects are brought to the disk by the commands that make them.
            if key not in synced and ({{"deltas", "delta-indexes", "refs"}} & set(path.parts) or path.suffix == ".commitmeta"):
                path.write_bytes(b"")
        os.killpg(0, signal.SIGKILL)
step.report = cut
"""


@pytest.mark.parametrize("step", ["move", "deltas", "delta indexes", "list", "list deltas", "whole list deltas"])
def test_after_a_power_cut(machine, address, step):
    machine.queue("5", APP, {"x86_64": machine.build(APP, "x86_64")})
    killed = machine.publish_in_process(TEAR.format(step=step, root=str(machine.settings.root / "srv")))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if step != "whole list deltas":
        assert machine.publish() == 0
        assert machine.leftovers() == []
    assert machine.result("5")["status"] == "published"
    pull_everything(machine, address)
    installed = client_with_remote(machine, address).install()
    assert installed.returncode == 0, installed.stderr
    for commit in machine.served_refs().values():
        deltas.check_index(machine.settings.repository, commit)


def test_a_delta_that_always_kills_the_publisher_is_done_without(machine):
    machine.queue("5", APP, {"x86_64": machine.build(APP, "x86_64")})
    for _ in range(4):
        assert not (machine.settings.results / "5.json").exists()
        machine.publish_in_process(IN_COMMAND.format(word="generate"))
    assert machine.result("5")["status"] == "published"
    assert machine.served_refs()[AMD64] == machine.head(AMD64)


def test_a_list_that_always_kills_the_publisher_does_not_stop_jobs(machine):
    settle(machine)
    (machine.settings.work / "unlisted.json").write_text('{"since": 0, "publishes": 1}')
    for _ in range(2):
        killed = machine.publish_in_process(
            "from publishing.listing import Listing\nListing._make_lists = lambda *_: os.killpg(0, signal.SIGKILL)"
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert machine.result("5")["status"] == "published"


def test_an_unknown_step_is_an_error():
    from publishing.step import step

    with pytest.raises(ValueError, match="no step"), step("dance"):
        pass
