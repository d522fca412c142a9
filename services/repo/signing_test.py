"""The signing key, with a real gpg-agent."""

import subprocess

import pytest

from publishing import signing
from repository_machine_test import PASSPHRASE, restricted_presets


def test_an_unlocked_key_signs(machine):
    signing.require_signing(machine.settings)


def test_a_restarted_agent_is_locked_until_it_gets_the_right_passphrase(machine):
    machine.stop_agent()
    with pytest.raises(signing.Locked):
        signing.require_signing(machine.settings)
    machine.start_agent()
    with pytest.raises(signing.Locked):
        signing.require_signing(machine.settings)
    with pytest.raises(signing.Locked):
        signing.unlock(machine.settings, "wrong")
    with pytest.raises(signing.Locked):
        signing.require_signing(machine.settings)
    signing.unlock(machine.settings, PASSPHRASE)
    signing.require_signing(machine.settings)


def test_the_key_is_encrypted_on_disk_and_importing_it_again_changes_nothing(machine):
    keys = list((machine.settings.signer / "private-keys-v1.d").iterdir())
    assert len(keys) == 1, "the offline primary key must not be here"
    assert b"protected" in keys[0].read_bytes()
    fingerprint = signing.fingerprint(machine.settings)
    assert signing.import_key(machine.settings, machine.root / "signing-key.asc") == fingerprint
    signing.require_signing(machine.settings)


def test_an_import_that_was_killed_is_done_again(machine):
    # Where it leaves the old secrets until the new one is there.
    aside = machine.settings.signer / "replaced-keys"
    aside.mkdir()
    for path in (machine.settings.signer / "private-keys-v1.d").glob("*.key"):
        path.rename(aside / path.name)
    with pytest.raises(signing.Failing, match="No secret key"):
        signing.require_signing(machine.settings)
    signing.import_key(machine.settings, machine.root / "signing-key.asc")
    signing.require_signing(machine.settings)
    assert not aside.exists()


@pytest.mark.skipif(not restricted_presets(), reason="needs GnuPG 2.4, as the machines have it")
def test_the_publishers_socket_gives_no_key_away(machine):
    grip = signing.keygrips(machine.settings)[0]
    done = subprocess.run(
        ["gpg-connect-agent", "--no-autostart", "--homedir", machine.settings.keyring],
        input=f"EXPORT_KEY {grip}\nPRESET_PASSPHRASE {grip} -1 00\n/bye\n".encode(),
        capture_output=True,
        check=False,
    )
    assert done.stdout.count(b"ERR") == 2, done.stdout
    signing.require_signing(machine.settings)


def test_the_flatpakrepo_file_carries_the_public_key(machine):
    import base64
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(signing.flatpakrepo(machine.settings, "http://flathub.test/repo/", "http://flathub.test"))
    section = parser["Flatpak Repo"]
    assert section["Url"] == "http://flathub.test/repo/"
    shown = subprocess.run(
        ["gpg", "--homedir", machine.settings.keyring, "--batch", "--show-keys", "--with-colons"],
        input=base64.b64decode(section["GPGKey"]),
        capture_output=True,
        check=True,
    )
    assert signing.fingerprint(machine.settings).encode() in shown.stdout
