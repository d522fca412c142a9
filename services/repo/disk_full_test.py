"""The volume is full while the publisher works: clients lose nothing, and with room again it goes on."""

import hashlib
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime

import pytest

from client_test import APP, client_with_remote, pull_everything
from publisher_kill_test import ALWAYS, AMD64, I386, builds, settle
from publishing import signing_health
from publishing.step import STEPS
from repository_machine_test import tar_of

OTHER = "org.flathub.Other"

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


def fill(file):
    with file.open("wb", buffering=0) as written:
        size = 2**20
        while size:
            try:
                written.write(bytes(size))
            except OSError:
                size //= 2


def test_a_build_of_many_small_files_fails_alone(machine, filler):
    """Each takes a block of the volume: many times what its tar takes, which is all that is known before."""
    files = ((hashlib.sha256(b"%d" % number).hexdigest(), b"0123456789") for number in range(4500))
    members = [(tarfile.TarInfo(f"repo/objects/{name[:2]}/{name[2:]}.filez"), data) for name, data in files]
    config = (tarfile.TarInfo("repo/config"), b"[core]\nrepo_version=1\nmode=archive-z2\n")
    tar = tar_of(machine.root / "small.tar", [config, *members])
    machine.queue("1", APP, {"x86_64": tar})
    machine.queue("2", OTHER, {"x86_64": machine.build(OTHER, "x86_64")})
    # As much as the tar asks for.
    free, needed = shutil.disk_usage(filler.parent).free, 3 * tar.stat().st_size + machine.settings.min_free_bytes
    filler.write_bytes(bytes(free - needed))
    assert machine.publish() == 0
    assert "x86_64.tar: no room to unpack it" in machine.result("1")["error"]
    assert machine.result("2")["status"] == "published"
    assert machine.leftovers() == []


@pytest.mark.parametrize("place", ["unpacked/x86_64", "work/1/import", "work/stage"])
def test_what_a_run_that_was_killed_left_does_not_block_the_next(machine, filler, place):
    machine.queue("1", APP, {"x86_64": machine.build(APP, "x86_64")})
    left = machine.settings.spool / place
    left.mkdir(parents=True)
    fill(left / "x")
    assert machine.publish() == 0
    assert machine.result("1")["status"] == "published"
    assert machine.leftovers() == []


def test_a_full_volume_is_not_told_as_a_locked_key(machine, filler):
    fill(filler)
    done = machine.publish_in_process()
    assert done.returncode == 1
    assert "until there is room on the volume" in done.stdout and "locked" not in done.stdout
    health = signing_health.check(machine.settings, datetime.now(UTC))
    assert health.state == "failing" and "No space left on device" in health.message


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
    status, served = machine.result("5")["status"], machine.served_refs()
    heads = {ref: machine.head(ref) for ref in (AMD64, I386)}
    assert heads == {ref: served[ref] for ref in heads} == machine.result("5" if status == "published" else "4")["refs"]
    machine.queue("6", APP, builds(machine, "Hello at last"))
    assert machine.publish() == 0
    result = machine.result("6")
    assert (result["status"], result["error"]) == ("published", None)
    machine.fsck()
    assert pull_everything(machine, address)[AMD64] == result["refs"][AMD64]
    assert machine.leftovers() == []
