"""Deliveries into a temporary root, with real hooks, links and files."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import deliver

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")


def stage(
    root: Path, name: str, activate: str = "exit 0", check: str = "exit 0", prepare: str = "exit 0", **units: str
) -> Path:
    """Unpack a small release."""
    folder = root / "opt/flathub/releases" / name
    (folder / "role/units").mkdir(parents=True)
    (folder / "generated").mkdir()
    shutil.copy(Path(deliver.__file__), folder / "deliver.py")
    (folder / "generated/inventory.json").write_text("{}")
    (folder / "generated/nftables.conf").write_text("flush ruleset\n")
    (folder / "generated/hosts").write_text(f"10.17.0.10 {name}\n")
    (folder / "generated/authorized_keys").write_text("ssh-ed25519 AAAA test\n")
    for unit, text in units.items():
        (folder / "role/units" / f"{unit}.service").write_text(text)
    for hook, body in (("prepare", prepare), ("check", check), ("activate", activate)):
        (folder / "role" / hook).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "role" / hook).chmod(0o755)
    return folder


def start(root: Path, folder: Path, secrets: dict[str, str], **environment: str) -> subprocess.Popen[str]:
    """Start a delivery; its input is written."""
    process = subprocess.Popen(
        [sys.executable, "deliver.py"],
        cwd=folder,
        env={**os.environ, "FLATHUB_ROOT": str(root), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process.stdin.write(json.dumps({"secrets": secrets}))
    process.stdin.close()
    process.stdin = None
    return process


def run(root: Path, folder: Path, secrets: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Deliver a release."""
    process = start(root, folder, secrets, **environment)
    output, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def in_service(root: Path) -> dict[str, object]:
    """What a machine has in service."""
    secrets = root / "etc/flathub/secrets"
    units = root / "etc/systemd/system"
    return {
        "release": os.readlink(root / "opt/flathub/current").removeprefix("releases/"),
        "secrets": {path.name: path.read_text() for path in secrets.iterdir()},
        "units": sorted(path.name for path in units.glob("*.service")) if units.is_dir() else [],
        "hosts": (root / "etc/hosts").read_text(),
        "keys": (root / "root/.ssh/authorized_keys").read_text(),
    }


def wait_for(condition) -> None:
    """Poll for at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_deliver_twice_then_refused_then_rolled_back(tmp_path):
    first = stage(tmp_path, "first", old="[Service]\nExecStart=/bin/true\n")
    assert run(tmp_path, first, {"a": "1"}).returncode == 0
    before = in_service(tmp_path)
    assert before["secrets"] == {"a": "1"} and before["units"] == ["old.service"]
    again = run(tmp_path, first, {"a": "1"})
    assert again.returncode == 0 and "nothing had changed" in again.stdout

    for hook in ("prepare", "check"):
        refused = run(tmp_path, stage(tmp_path, f"refused-by-{hook}", **{hook: "exit 1"}), {"a": "2"})
        assert refused.returncode == 1 and f"role/{hook} failed with exit status 1" in refused.stdout
        assert in_service(tmp_path) == before

    log = tmp_path / "activations"
    (first / "role/activate").write_text(f'#!/bin/sh\necho "first after $FLATHUB_PREVIOUS" >> {log}\n')
    third = stage(tmp_path, "third", activate="echo broken; exit 1", new="[Service]\nExecStart=/bin/false\n")
    failed = run(tmp_path, third, {"b": "3"})
    assert failed.returncode == 2
    assert "broken" in failed.stdout and "first is back in service" in failed.stdout
    assert in_service(tmp_path) == before
    assert log.read_text() == f"first after {third}\n"


def test_a_rollback_that_fails_too_says_so(tmp_path):
    first = stage(tmp_path, "first")
    assert run(tmp_path, first, {"a": "1"}).returncode == 0
    (first / "role/activate").write_text("#!/bin/sh\nexit 1\n")
    failed = run(tmp_path, stage(tmp_path, "second", activate="exit 1"), {"a": "1"})
    assert failed.returncode == 3 and "ERROR while going back" in failed.stdout


def test_a_first_release_that_fails_is_not_current(tmp_path):
    failed = run(tmp_path, stage(tmp_path, "first", activate="exit 1"), {})
    assert failed.returncode == 2
    assert not (tmp_path / "opt/flathub/current").is_symlink()


@pytest.mark.parametrize("hook", ["prepare", "check", "activate"])
def test_killed_in_a_hook_and_repeated(tmp_path, hook):
    assert run(tmp_path, stage(tmp_path, "first"), {"a": "1"}).returncode == 0
    reached, log = tmp_path / "reached", tmp_path / "log"
    hooks = {
        "prepare": "exit 0",
        "activate": f'echo "$FLATHUB_PREVIOUS $FLATHUB_CHANGED_SECRETS" >> {log}',
    }
    # Waits in the hook the first time, until it is killed with its parent.
    hooks[hook] = f"if [ ! -e {reached} ]; then touch {reached}; exec sleep 60; fi\n{hooks.get(hook, 'exit 0')}"
    second = stage(tmp_path, "second", **hooks)
    process = start(tmp_path, second, {"a": "2"})
    wait_for(reached.exists)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    process.stdout.close()
    for child in children:
        os.kill(int(child), signal.SIGKILL)

    expected = "second" if hook == "activate" else "first"
    assert in_service(tmp_path)["release"] == expected
    assert run(tmp_path, second, {"a": "2"}).returncode == 0
    after = in_service(tmp_path)
    assert after["release"] == "second" and after["secrets"] == {"a": "2"}
    assert not (tmp_path / "etc/flathub/secrets.new").exists()
    # The hook is told the release that was last in service as a whole, not the one that was interrupted.
    first = tmp_path / "opt/flathub/releases/first"
    assert log.read_text() == f"{first} a\n"


STEPS = ("install_secrets", "switch", "install_units", "install_generated", "record", "remove_old_releases")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_between_two_steps_and_repeated(tmp_path, step, when):
    unit = "[Service]\nExecStart=/bin/true\n"
    assert run(tmp_path, stage(tmp_path, "first", old=unit), {"a": "1", "b": "1"}).returncode == 0
    second = stage(tmp_path, "second", new=unit)
    killer = f"""
import os, signal, sys
sys.path.insert(0, {str(second)!r})
import deliver
real = deliver.Machine.{step}
def killed(*arguments):
    if {when!r} == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
deliver.Machine.{step} = killed
sys.exit(deliver.main())
"""
    result = subprocess.run(
        [sys.executable, "-B", "-c", killer],
        env={**os.environ, "FLATHUB_ROOT": str(tmp_path)},
        input=json.dumps({"secrets": {"a": "2"}}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stdout + result.stderr
    assert run(tmp_path, second, {"a": "2"}).returncode == 0
    after = in_service(tmp_path)
    assert (after["release"], after["secrets"], after["units"]) == ("second", {"a": "2"}, ["new.service"])
    assert after["hosts"].count("10.17.0.10") == 1
    again = run(tmp_path, second, {"a": "2"})
    assert again.returncode == 0 and "nothing had changed" in again.stdout


def test_current_and_previous_release_are_kept(tmp_path):
    for name in ("first", "second", "third"):
        assert run(tmp_path, stage(tmp_path, name), {}).returncode == 0
    assert {path.name for path in (tmp_path / "opt/flathub/releases").iterdir()} == {"second", "third"}


def test_secrets_are_for_root_only_and_never_printed(tmp_path):
    secrets = {"a": "hunter-two-hunter-two", "b": "correct-horse"}
    outputs = [
        run(tmp_path, stage(tmp_path, "first"), secrets).stdout,
        run(tmp_path, stage(tmp_path, "second", check="exit 1"), {**secrets, "a": "staple-battery"}).stdout,
        run(tmp_path, stage(tmp_path, "third", activate="exit 1"), {**secrets, "a": "staple-battery"}).stdout,
    ]
    for content in (*secrets.values(), "staple-battery"):
        assert content not in "".join(outputs)
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.parent.name != "secrets":
                assert content not in path.read_text()
    folder = tmp_path / "etc/flathub/secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_two_deliveries_never_overlap(tmp_path):
    folder = stage(tmp_path, "first")
    lock_path = tmp_path / "run/flathub-deliver.lock"
    lock_path.parent.mkdir()
    with open(lock_path, "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        refused = run(tmp_path, folder, {}, FLATHUB_LOCK_SECONDS="0.3")
        assert refused.returncode == 1
        assert "another delivery is running on this machine (process 4711)" in refused.stdout
        assert not (tmp_path / "opt/flathub/current").is_symlink()
    assert run(tmp_path, folder, {}, FLATHUB_LOCK_SECONDS="0.3").returncode == 0


def test_a_wrong_firewall_is_refused(tmp_path):
    assert run(tmp_path, stage(tmp_path, "first"), {}).returncode == 0
    second = stage(tmp_path, "second")
    (second / "generated/nftables.conf").write_text("nonsense\n")
    refused = run(tmp_path, second, {})
    assert refused.returncode == 1 and "nftables.conf" in refused.stdout
    assert in_service(tmp_path)["release"] == "first"


def test_on_somebody_elses_machine_everything_else_stays_theirs(tmp_path):
    """root's home is where pwd says it is, below the test's root."""
    folder = stage(tmp_path, "first")
    (folder / "generated/guest.json").write_text('{"user": "root"}')
    (folder / "generated/hosts").write_text("")
    (folder / "role/guest-units").mkdir()
    (folder / "role/guest-units/guest.service").write_text("[Service]\nExecStart=/bin/true\n")
    theirs = {
        "root/.ssh/authorized_keys": "ssh-ed25519 BBBB owner\n",
        "etc/hosts": "127.0.0.1 localhost\n",
        "etc/nftables.conf": "flush ruleset\n# the owner's\n",
    }
    for path, text in theirs.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    os.chmod(tmp_path / "root/.ssh/authorized_keys", 0o600)
    for _ in range(2):
        assert run(tmp_path, folder, {}).returncode == 0
        assert in_service(tmp_path)["keys"] == (
            "ssh-ed25519 BBBB owner\n# begin: keys of Flathub\nssh-ed25519 AAAA test\n# end: keys of Flathub\n"
        )
        assert (tmp_path / "etc/hosts").read_text() == theirs["etc/hosts"]
        assert (tmp_path / "etc/nftables.conf").read_text() == theirs["etc/nftables.conf"]
        assert (tmp_path / "etc/flathub/firewall.nft").read_text() == "flush ruleset\n"
        assert in_service(tmp_path)["units"] == ["guest.service"]


def test_a_machine_of_our_own_has_no_units_for_guests(tmp_path):
    folder = stage(tmp_path, "first")
    (folder / "role/guest-units").mkdir()
    (folder / "role/guest-units/guest.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert run(tmp_path, folder, {}).returncode == 0
    assert in_service(tmp_path)["units"] == []


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"user": 5}', '{"user": "root", "more": 1}', '{"user": "nobody-like-that"}']
)
def test_a_wrong_guest_is_refused(tmp_path, text):
    folder = stage(tmp_path, "first")
    (folder / "generated/guest.json").write_text(text)
    refused = run(tmp_path, folder, {})
    assert refused.returncode == 1 and "guest.json" in refused.stdout


@pytest.mark.parametrize(
    ("text", "block", "expected"),
    [
        ("", "a", "<\na\n>\n"),
        ("x", "a", "x\n<\na\n>\n"),
        ("x\n<\nold\n>\ny\n", "a\n", "x\ny\n<\na\n>\n"),
        ("x\n<\nold\n>\n", "", "x\n"),
        ("x\n", "", "x\n"),
    ],
)
def test_a_marked_block(text, block, expected):
    assert deliver.replace_block(text, "<", ">", block) == expected


@pytest.mark.parametrize("missing", ["generated/hosts", "generated/nftables.conf", "role/check"])
def test_an_incomplete_release_is_refused(tmp_path, missing):
    folder = stage(tmp_path, "first")
    (folder / missing).unlink()
    refused = run(tmp_path, folder, {})
    assert refused.returncode == 1 and missing in refused.stdout


def test_a_release_that_would_lock_everybody_out_is_refused(tmp_path):
    folder = stage(tmp_path, "first")
    (folder / "generated/authorized_keys").write_text("# nobody\n")
    refused = run(tmp_path, folder, {})
    assert refused.returncode == 1 and "lock everybody out" in refused.stdout


@pytest.mark.parametrize("text", ["", "[]", '{"secrets": {"../x": "y"}}', '{"secrets": {"x": ""}}'])
def test_bad_input_is_refused(text):
    with pytest.raises(deliver.DeliveryError, match="standard input"):
        deliver.read_secrets(text)
