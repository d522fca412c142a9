"""The volume is full while the publisher works: clients lose nothing, and with room again it goes on."""

import subprocess

import pytest

from client_test import APP, client_with_remote, pull_everything
from publisher_kill_test import ALWAYS, AMD64, I386, builds, settle
from publishing.step import STEPS

# After the step nothing can be written any more.
FULL_AFTER_STEP = """
from publishing import step
def full(name, seconds):
    if name == {step!r}:
        with open({filler!r}, "wb") as file:
            size = 2**20
            while size:
                try:
                    file.write(bytes(size))
                    file.flush()
                except OSError:
                    size //= 2
step.report = full
"""


@pytest.fixture
def filler(machine):
    """The machine's volume becomes a small one; answers the file that fills it."""
    srv = machine.root / "srv"
    srv.rename(machine.root / "before")
    srv.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0755", "flathub-test", srv], check=True)
    try:
        # With the agent's sockets, which shutil does not copy.
        subprocess.run(["cp", "--archive", "--no-target-directory", machine.root / "before", srv], check=True)
        yield srv / "filler"
    finally:
        machine.stop_agent()
        subprocess.run(["umount", srv], check=True)


@pytest.mark.parametrize("step", [step for step in STEPS if step not in ("undo", "spare refs")])
def test_after_a_step(machine, address, filler, step):
    settle(machine)
    client = client_with_remote(machine, address)
    machine.publish_in_process(FULL_AFTER_STEP.format(step=step, filler=str(filler)), **ALWAYS)
    assert filler.exists(), "the step was not reached"
    before = machine.result("4")["refs"]
    seen = pull_everything(machine, address)
    assert (seen[AMD64] == before[AMD64]) == (seen[I386] == before[I386]), "both architectures or none"
    installed = client.install()
    assert installed.returncode == 0, installed.stderr

    filler.unlink()
    assert machine.publish() == 0
    assert machine.result("5")["status"] in ("published", "failed")
    machine.queue("6", APP, builds(machine, "Hello at last"))
    assert machine.publish() == 0
    result = machine.result("6")
    assert (result["status"], result["error"]) == ("published", None)
    machine.fsck()
    assert pull_everything(machine, address)[AMD64] == result["refs"][AMD64]
    assert machine.leftovers() == []
