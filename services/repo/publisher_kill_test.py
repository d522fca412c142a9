"""The publisher is killed: what clients read stays right, and the next run finishes or undoes."""

import os
import random
import signal
import subprocess

import pytest

from client_test import APP, client_with_remote, pull_everything
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


@pytest.mark.parametrize("round_number", range(int(os.environ.get("FLATHUB_KILL_ROUNDS", "1"))))
def test_at_random_instants(machine, address, round_number):
    """Several times in a row; FLATHUB_KILL_ROUNDS of them with instants from FLATHUB_KILL_SEED."""
    chance = random.Random(f"{os.environ.get('FLATHUB_KILL_SEED', '1')} {round_number}")
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


def test_an_unknown_step_is_an_error():
    from publishing.step import step

    with pytest.raises(ValueError, match="no step"), step("dance"):
        pass
