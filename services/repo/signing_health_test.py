"""The check of the signing key, with real keys and a real gpg-agent."""

import json
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from publishing import signing, signing_health
from repository_machine_test import PASSPHRASE, gpg


def told(machine):
    return json.loads(signing_health.path(machine.settings).read_text())


def key_file(machine, *, made: str | None, expires: str) -> Path:
    """An armored key that both certifies and signs; `made` is the moment that gpg takes for now."""
    home = Path(tempfile.mkdtemp(prefix="fk", dir="/tmp"))
    clock = ["--faked-system-time", made] if made else []
    try:
        gpg(home, *clock, "--quick-gen-key", "Short <short@flathub.test>", "ed25519", "sign", expires)
        file = machine.root / "short.asc"
        file.write_text(gpg(home, "--armor", "--export-secret-keys", "short@flathub.test"))
        return file
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def test_a_key_that_signs_is_ok_and_the_file_says_which_it_is(machine):
    health = signing_health.run_check(machine.settings)
    assert health.signs
    known = signing.public_keys(machine.settings)
    file = told(machine)
    checked = datetime.fromisoformat(file.pop("checked"))
    assert abs(datetime.now(UTC) - checked) < timedelta(minutes=5)
    assert file == {
        "state": "ok",
        "fingerprint": known[0].fingerprint,
        "subkey": known[1].fingerprint,
        "expires": None,
        "message": "has just signed",
    }
    assert signing_health.path(machine.settings).stat().st_mode & 0o777 == 0o644


def test_a_restarted_agent_is_locked_until_it_is_unlocked(machine):
    machine.stop_agent()
    assert signing_health.run_check(machine.settings).state == "failing", "without an agent no passphrase helps"
    machine.start_agent()
    health = signing_health.run_check(machine.settings)
    assert (health.state, health.signs, told(machine)["state"]) == ("locked", False, "locked")
    assert told(machine)["fingerprint"] == signing.fingerprint(machine.settings)
    assert "locked" in signing_health.in_words(machine.settings)
    signing.unlock(machine.settings, PASSPHRASE)
    assert signing_health.run_check(machine.settings).state == told(machine)["state"] == "ok"


def test_a_secret_that_is_gone_is_failing(machine):
    for file in (machine.settings.signer / "private-keys-v1.d").glob("*.key"):
        file.unlink()
    health = signing_health.run_check(machine.settings)
    assert (health.state, health.signs) == ("failing", False)
    assert "No secret key" in health.message


def test_without_a_key_it_is_failing_and_says_so(machine):
    machine.settings.fingerprint.unlink()
    assert signing_health.run_check(machine.settings).state == "failing"
    assert told(machine)["fingerprint"] is None
    assert "no signing key was imported" in told(machine)["message"]


def test_the_end_of_a_key_is_told_half_a_year_before(machine):
    signing.import_key(machine.settings, key_file(machine, made=None, expires="170d"))
    signing.unlock(machine.settings, PASSPHRASE)
    health = signing_health.run_check(machine.settings)
    assert (health.state, health.signs) == ("expiring", True)
    left = datetime.fromisoformat(told(machine)["expires"]) - datetime.now(UTC)
    assert timedelta(days=169) < left < timedelta(days=171)
    earlier = datetime.now(UTC) - timedelta(days=20)
    assert signing_health.check(machine.settings, earlier).state == "ok"


def test_an_expired_key_is_failing_and_no_passphrase_helps(machine):
    signing.import_key(machine.settings, key_file(machine, made="20200101T000000", expires="1y"))
    with pytest.raises(signing.Failing):
        signing.unlock(machine.settings, PASSPHRASE)
    health = signing_health.run_check(machine.settings)
    assert (health.state, health.signs) == ("failing", False)
    assert health.message.startswith("expired on 2020-12-31")


def test_what_is_left_of_a_broken_file_is_said(machine):
    assert "has left no result" in signing_health.in_words(machine.settings)
