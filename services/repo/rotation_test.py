"""From the subkey on the machine to the spare one, with a client that has the key it got when it added the remote."""

import functools
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from publishing import signing, signing_health
from publishing.command import CommandFailed
from repository_machine_test import PASSPHRASE, Machine, gpg

APP = "org.flathub.test.Rotation"
REF = f"app/{APP}/x86_64/stable"
SIGNING_KEY = Path(__file__).parents[2] / "scripts/signing-key"


def command(*words: object, data: str = "", env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], input=data, env=env, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def keys() -> Iterator[Path]:
    """What scripts/signing-key makes."""
    directory = Path(tempfile.mkdtemp(prefix="flathub-keys-"))
    try:
        command(SIGNING_KEY, directory, "--years", "2", data=f"{PASSPHRASE}\n")
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def home() -> Iterator[Path]:
    """A GnuPG home on the machine without network."""
    directory = Path(tempfile.mkdtemp(prefix="fk", dir="/tmp"))
    try:
        yield directory
    finally:
        subprocess.run(["gpgconf", "--homedir", directory, "--kill", "all"], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def fingerprints(file: Path) -> list[str]:
    """The primary key and the subkeys in a key file."""
    listing = command("gpg", "--batch", "--with-colons", "--show-keys", file)
    return [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")]


def deliver(machine: Machine, file: Path) -> None:
    """A delivery with another signing key, and the operator's unlocking."""
    signing.import_key(machine.settings, file)
    signing.unlock(machine.settings, PASSPHRASE)
    signing.offer_public_key(machine.settings)


def sign_version(machine: Machine, text: str, key: str, home: Path) -> str:
    """Sign a new version and the summary; returns the commit."""
    words = (f"--gpg-sign={key}", f"--gpg-homedir={home}")
    built = machine.build(APP, "x86_64", text)
    repository = machine.settings.repository
    command("flatpak", "build-commit-from", f"--src-repo={built}", "--no-update-summary", *words, repository, REF)
    command("flatpak", "build-update-repo", *words, repository)
    return command("ostree", f"--repo={repository}", "rev-parse", REF).strip()


def publish(machine: Machine, text: str) -> str:
    """Sign with the machine's key, as the publisher does."""
    return sign_version(machine, text, signing.fingerprint(machine.settings), machine.settings.keyring)


def signed_by(machine: Machine, commit: str) -> str:
    """The long key ID of the subkey that signed a commit."""
    shown = command("ostree", f"--repo={machine.settings.repository}", "show",
                    f"--gpg-homedir={machine.settings.keyring}", commit)  # fmt: skip
    (line,) = [line for line in shown.splitlines() if "key ID" in line]
    return line.split()[-1]


class Client:
    """A user's machine that has added the remote."""

    def __init__(self, machine: Machine, name: str, address: str) -> None:
        self._home = machine.root / name
        self._home.mkdir()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "XDG_DATA_HOME": str(self._home / "data"),
            "LC_ALL": "C.UTF-8",
        }
        file = self._home / "flathub.flatpakrepo"
        file.write_text(signing.flatpakrepo(machine.settings, address, "http://flathub.test"))
        self.flatpak("remote-add", "flathub", file)

    def flatpak(self, verb: str, *words: object) -> str:
        return command("flatpak", verb, "--user", *words, env=self._environment)

    def install(self) -> str:
        """Without its runtime: what is tried is the signature. Returns the commit."""
        self.flatpak("install", "--noninteractive", "--no-deps", "--no-related", "flathub", APP)
        return self.installed()

    def update(self) -> str:
        """flatpak's exit code is 0 when it does not trust the remote: it stays with what it has."""
        self.flatpak("update", "--noninteractive", "--no-deps", "--no-related", APP)
        return self.installed()

    def installed(self) -> str:
        return self.flatpak("info", "--show-commit", APP).strip()

    @property
    def keyring(self) -> Path:
        return self._home / "data/flatpak/repo/flathub.trustedkeys.gpg"

    @property
    def expires(self) -> set[datetime]:
        """When the keys that it knows end."""
        lines = [
            line.split(":")
            for line in command("gpg", "--batch", "--with-colons", "--show-keys", self.keyring).splitlines()
        ]
        return {datetime.fromtimestamp(int(line[6]), UTC) for line in lines if line[0] in ("pub", "sub")}


@pytest.fixture
def address(machine: Machine) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=machine.settings.repository)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_rotation_to_the_spare_asks_nothing_of_a_client(machine, keys, address):
    primary, first, spare = fingerprints(keys / "public.asc")
    deliver(machine, keys / "machine.asc")
    assert signing.require_signing(machine.settings) == first
    old = publish(machine, "signed by the first subkey")
    assert first.endswith(signed_by(machine, old))
    client = Client(machine, "client", address)
    assert client.install() == old
    kept = client.keyring.read_bytes()

    # One passphrase protects both: publishing goes on without an operator.
    signing.import_key(machine.settings, keys / "spare.asc")
    assert signing.require_signing(machine.settings) == spare
    assert signing.fingerprint(machine.settings) == primary
    new = publish(machine, "signed by the spare subkey")
    assert spare.endswith(signed_by(machine, new))

    assert client.update() == new
    assert client.keyring.read_bytes() == kept
    assert Client(machine, "another", address).install() == new


def test_after_the_rotation_the_old_secret_is_gone_and_clients_get_the_same_key(machine, keys):
    known = fingerprints(keys / "public.asc")
    deliver(machine, keys / "machine.asc")
    (old,) = signing.keygrips(machine.settings)
    assert fingerprints(machine.settings.public_key) == known
    deliver(machine, keys / "spare.asc")
    (new,) = signing.keygrips(machine.settings)
    assert new != old
    assert [path.stem for path in machine.settings.signer.rglob("*.key")] == [new]
    assert fingerprints(machine.settings.public_key) == known
    # And back: an operator may have taken the wrong file.
    deliver(machine, keys / "machine.asc")
    assert signing.keygrips(machine.settings) == [old]
    assert signing.require_signing(machine.settings) == known[1]


def test_a_key_under_another_passphrase_waits_for_it(machine, home, keys):
    deliver(machine, keys / "machine.asc")
    with_other = machine.root / "other.asc"
    words = ["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "another"]
    command(*words, "--quick-gen-key", "Other <other@flathub.test>", "ed25519", "sign")
    with_other.write_text(command(*words, "--armor", "--export-secret-keys"))
    signing.import_key(machine.settings, with_other)
    with pytest.raises(signing.Locked) as raised:
        signing.require_signing(machine.settings)
    assert not isinstance(raised.value, signing.Failing)
    with pytest.raises(signing.Locked):
        signing.unlock(machine.settings, PASSPHRASE)
    signing.unlock(machine.settings, "another")


def test_a_client_refuses_what_another_key_has_signed(machine, keys, address, signing_key):
    deliver(machine, keys / "machine.asc")
    old = publish(machine, "signed by the first subkey")
    client = Client(machine, "client", address)
    assert client.install() == old
    deliver(machine, machine.root / "signing-key.asc")
    publish(machine, "signed by somebody else")
    assert client.update() == old
    with pytest.raises(AssertionError, match="public key not found"):
        client.flatpak("remote-ls", "flathub")


def revoke_first_subkey(home: Path, keys: Path) -> Path:
    """As docs/runbooks/rotate-signing-key.md says; returns the public key with the revocation."""
    primary = fingerprints(keys / "public.asc")[0]
    gpg(home, "--import", str(keys / "primary.asc"))
    answers = "key 1\nrevkey\ny\n1\n\ny\nsave\n"
    words = ["gpg", "--homedir", home, "--pinentry-mode", "loopback", "--passphrase", PASSPHRASE]
    command(*words, "--command-fd", "0", "--no-tty", "--edit-key", primary, data=answers)
    file = home / "public.asc"
    file.write_text(gpg(home, "--armor", "--export", primary))
    return file


def publish_as_thief(machine: Machine, keys: Path, home: Path) -> None:
    """Sign a version and the summary with the first subkey, in a home that knows of no revocation."""
    home.mkdir(mode=0o700)
    gpg(home, "--import", str(keys / "machine.asc"))
    (home / "gpg-agent.conf").write_text("allow-preset-passphrase\n")
    try:
        (secret,) = (home / "private-keys-v1.d").glob("*.key")
        preset = f"PRESET_PASSPHRASE {secret.stem} -1 {PASSPHRASE.encode().hex()}\n"
        command("gpg-connect-agent", "--homedir", home, data=f"RELOADAGENT\n{preset}")
        sign_version(machine, "signed by the thief", fingerprints(keys / "public.asc")[0], home)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def only(subkey_file: Path, public: Path) -> str:
    """A file for the machine with another public half, as the runbook says."""
    home = Path(tempfile.mkdtemp(prefix="fk", dir="/tmp"))
    try:
        gpg(home, "--import", str(public), str(subkey_file))
        return gpg(home, "--armor", "--export-secret-subkeys", fingerprints(public)[0])
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


def test_a_stolen_subkey_is_refused_by_a_client_that_knows_of_its_revocation(machine, keys, address, home):
    deliver(machine, keys / "machine.asc")
    old = publish(machine, "signed by the first subkey")
    client = Client(machine, "client", address)
    assert client.install() == old

    revoked = revoke_first_subkey(home, keys)
    spare = machine.root / "spare.asc"
    spare.write_text(only(keys / "spare.asc", revoked))
    deliver(machine, spare)
    new = publish(machine, "signed by the spare subkey")
    assert client.update() == new, "the summary has brought it the revocation"

    publish_as_thief(machine, keys, home / "thief")
    assert client.update() == new
    with pytest.raises(AssertionError, match="revoked"):
        client.flatpak("remote-ls", "flathub")


def test_a_renewed_key_reaches_old_clients_and_keeps_the_machine_unlocked(machine, keys, home, address):
    primary = fingerprints(keys / "public.asc")[0]
    deliver(machine, keys / "machine.asc")
    publish(machine, "signed before")
    client = Client(machine, "client", address)
    client.install()
    before = signing_health.run_check(machine.settings)

    gpg(home, "--import", str(keys / "primary.asc"))
    gpg(home, "--quick-set-expire", primary, "12y")
    gpg(home, "--quick-set-expire", primary, "12y", "*")
    public = home / "public.asc"
    public.write_text(gpg(home, "--armor", "--export", primary))
    renewed = machine.root / "machine.asc"
    renewed.write_text(only(keys / "machine.asc", public))
    signing.import_key(machine.settings, renewed)
    signing.offer_public_key(machine.settings)

    after = signing_health.run_check(machine.settings)
    assert (after.state, after.subkey) == ("ok", before.subkey)
    assert before.expires and after.expires
    assert (after.expires - before.expires).days > 9 * 365
    new = publish(machine, "signed after")
    assert client.update() == new
    assert min(client.expires) == after.expires


def test_a_spare_made_later_reaches_old_clients_before_it_is_needed(machine, keys, home, address):
    primary = fingerprints(keys / "public.asc")[0]
    deliver(machine, keys / "machine.asc")
    publish(machine, "signed before")
    client = Client(machine, "client", address)
    client.install()

    gpg(home, "--import", str(keys / "primary.asc"))
    gpg(home, "--quick-add-key", primary, "ed25519", "sign", "2y")
    public, secret, spare = (machine.root / f"{name}.asc" for name in ("public", "secret", "spare"))
    public.write_text(gpg(home, "--armor", "--export", primary))
    *known, new = fingerprints(public)
    assert known == fingerprints(keys / "public.asc")
    secret.write_text(gpg(home, "--armor", "--export-secret-subkeys", f"{new}!"))
    spare.write_text(only(secret, public))
    delivered = machine.root / "delivered.asc"
    delivered.write_text(only(keys / "machine.asc", public))
    deliver(machine, delivered)
    assert signing.require_signing(machine.settings) == known[1]
    brings_it = publish(machine, "the summary brings the new spare")
    assert client.update() == brings_it

    deliver(machine, spare)
    assert signing.require_signing(machine.settings) == new
    last = publish(machine, "signed by the new spare")
    assert client.update() == last


def test_the_offline_key_is_refused_before_it_reaches_the_disk(machine, keys):
    before = sorted(machine.settings.signer.rglob("*.key"))
    with pytest.raises(CommandFailed, match="exactly one secret, it holds 3"):
        signing.import_key(machine.settings, keys / "primary.asc")
    with pytest.raises(CommandFailed, match="exactly one key, it holds 1|exactly one secret, it holds 0"):
        signing.import_key(machine.settings, keys / "public.asc")
    assert sorted(machine.settings.signer.rglob("*.key")) == before
    signing.require_signing(machine.settings)
