"""Signing with the key that the signer's gpg-agent holds.

The key is named by its primary's fingerprint everywhere: gpg then signs with the subkey whose secret is here, whichever
others the public key has. (A subkey can't be named to flatpak and ostree: GPGME passes on the primary's name only.)
"""

import base64
import errno
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .command import CommandFailed, run
from .settings import Settings

_PROBE = b"Can the key sign?\n"


# What gpg's FAILURE status says, in the low 16 bits, when only the passphrase is missing: bad passphrase, no pinentry,
# cancelled, no passphrase given.
_PASSPHRASE_MISSING = {11, 85, 99, 177}


class Locked(Exception):
    """The key can't be used now: not an error of any job, which waits."""


class Failing(Locked):
    """The key can't be used, and no passphrase helps: expired, revoked, without its secret, without an agent."""


class VolumeFull(Failing):
    """gpg could not write beside its keys: this says nothing about the key."""


def _gpg(home: Path, *words: str) -> list[str]:
    return ["gpg", "--homedir", os.fspath(home), "--batch", "--no-autostart", "--no-tty", *words]


def fingerprint(settings: Settings) -> str:
    """The fingerprint of the primary key. Raises Failing if no key was imported yet."""
    try:
        return settings.fingerprint.read_text().strip()
    except FileNotFoundError:
        raise Failing(f"no signing key was imported: {settings.fingerprint} is missing") from None


def require_signing(settings: Settings, user: tuple[str, ...] = ()) -> str:
    """Sign something and verify the signature: the only proof that the key is unlocked.

    `user` are the words that make the commands run as the publisher, when called by root. Returns the fingerprint of
    the subkey (or the primary key, if it has none) that signed. Raises Locked if the passphrase is missing, VolumeFull if
    there is no room, Failing if something else is.
    """
    key = fingerprint(settings)
    signing = ("--local-user", key, "--status-fd", "2", "--armor", "--detach-sign")
    try:
        signature = run([*user, *_gpg(settings.keyring, *signing)], 60, _PROBE)
        with tempfile.NamedTemporaryFile(prefix="flathub-probe-", suffix=".asc") as file:
            file.write(signature.encode())
            file.flush()
            os.chmod(file.name, 0o644)
            checked = run([*user, *_gpg(settings.keyring, "--status-fd", "1", "--verify", file.name, "-")], 60, _PROBE)
    except CommandFailed as error:
        said = str(error)
        # The first lines are gpg's remarks, the last one is why it gave up.
        reason = [line for line in said.splitlines() if not line.startswith("[GNUPG:]")][-1].strip()
        failure = re.search(r"^\[GNUPG:\] FAILURE sign (\d+)$", said, re.MULTILINE)
        if failure and int(failure[1]) & 0xFFFF in _PASSPHRASE_MISSING:
            raise Locked(f"{key} can't sign: the agent has no, or a wrong, passphrase for it ({reason})") from None
        if os.strerror(errno.ENOSPC) in said:
            raise VolumeFull(f"gpg can't write: {reason}") from None
        raise Failing(f"{key} can't sign, and no passphrase would help: {reason}") from None
    valid = re.search(r"^\[GNUPG:\] VALIDSIG (\w+) .* (\w+)$", checked, re.MULTILINE)
    if not valid or valid[2] != key:
        raise Failing(f"{key} has signed, but its signature is not valid")
    return valid[1]


@dataclass(frozen=True)
class PublicKey:
    """A primary key or a subkey, as everybody may know it."""

    fingerprint: str
    keygrip: str
    # None: never.
    expires: datetime | None
    # Whether the key's secret is at hand; always false in the publisher's home, which has public halves only.
    secret: bool


def _keys(listing: str) -> list[PublicKey]:
    """Out of gpg's colon listing, made --with-keygrip; the primary key comes first."""
    keys, fields = [], {}
    for line in listing.splitlines():
        words = line.split(":")
        if words[0] in ("pub", "sub", "sec", "ssb"):
            fields = {
                "expires": datetime.fromtimestamp(int(words[6]), UTC) if words[6] else None,
                "secret": words[0] in ("sec", "ssb") and words[14] != "#",
            }
        elif words[0] == "fpr":
            fields["fingerprint"] = words[9]
        elif words[0] == "grp":
            keys.append(PublicKey(keygrip=words[9], **fields))
    return keys


def public_keys(settings: Settings, user: tuple[str, ...] = ()) -> list[PublicKey]:
    """The keys that clients know, the primary key first. `user` as for require_signing."""
    words = ("--with-colons", "--with-keygrip", "--list-keys", fingerprint(settings))
    return _keys(run([*user, *_gpg(settings.keyring, *words)], 60))


def write_home(home: Path, socket: Path) -> None:
    """Make a GNUPGHOME whose gpg uses the agent at `socket` and never starts one of its own."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    files = {
        # GnuPG's own way to point at a socket elsewhere.
        "S.gpg-agent": f"%Assuan%\nsocket={socket}\n",
        "gpg.conf": "no-autostart\nno-tty\nno-secmem-warning\n",
    }
    for name, content in files.items():
        path = home / name
        if not path.is_file() or path.read_text() != content:
            path.unlink(missing_ok=True)
            path.write_text(content)


def write_agent_configuration(settings: Settings) -> None:
    """gpg-agent.conf: a preset passphrase stays for good."""
    path = settings.signer / "gpg-agent.conf"
    ten_years_seconds = 10 * 365 * 24 * 3600
    path.write_text(
        # max-cache-ttl ends a preset passphrase too, whatever default-cache-ttl says.
        f"default-cache-ttl {ten_years_seconds}\n"
        f"max-cache-ttl {ten_years_seconds}\n"
        "allow-preset-passphrase\n"
        "no-allow-external-cache\n"
        "disable-scdaemon\n"
        # How often the passphrase is hashed to open the key, at each signature: the agent's own, measured, count can
        # take a third of a second, and a publish makes a dozen signatures one after the other. The passphrase is long
        # enough not to need it (scripts/signing-key).
        "s2k-count 1048576\n"
        # Without a passphrase in the cache, signing must fail at once: there is nobody to ask.
        "pinentry-program /bin/false\n"
    )


def _primary(colons: str) -> str:
    lines = [line.split(":") for line in colons.splitlines()]
    keys = [
        lines[i + 1][9] for i, line in enumerate(lines[:-1]) if line[0] in ("pub", "sec") and lines[i + 1][0] == "fpr"
    ]
    if len(keys) != 1:
        raise CommandFailed(f"the signing key file must hold exactly one key, it holds {len(keys)}")
    return keys[0]


def _require_one_secret(packets: str) -> None:
    """`packets` is gpg's list of what is in a key file. The primary's secret must not even reach the disk here."""
    secrets = [packet for packet in re.split(r"^(?=:)", packets, flags=re.MULTILINE) if packet.startswith(":secret ")]
    # A key whose secret was left out has this mark in its stead.
    whole = [packet for packet in secrets if "gnu-dummy" not in packet]
    if len(whole) != 1:
        raise CommandFailed(
            f"the signing key file must hold exactly one secret, it holds {len(whole)}: expected machine.asc or "
            "spare.asc as scripts/signing-key makes them; primary.asc stays offline"
        )


def import_key(settings: Settings, key_file: Path) -> str:
    """Make the armored secret key the only one that the signer has, and give its public half to the publisher;
    repeatable.

    The key stays encrypted with its passphrase on disk. What the public key had before, such as other subkeys, it keeps.
    The signer's agent must be running. A passphrase that it holds stays good for the same secret, and for another one
    under the same passphrase: the agent tries the last that was right. Returns the fingerprint of the primary key.
    Raises CommandFailed for a file that is not such a key; nothing has changed then.
    """
    signer, publisher = settings.as_user("signer"), settings.as_user("publisher")
    data = key_file.read_bytes()
    shown = run(
        [*signer, *_gpg(settings.signer, "--with-colons", "--import-options", "show-only", "--import")], 60, data
    )
    key = _primary(shown)
    _require_one_secret(run([*signer, *_gpg(settings.signer, "--list-packets")], 60, data))
    _replace_secret(settings, data)
    public = run([*signer, *_gpg(settings.signer, "--armor", "--export", key)], 60).encode()
    run([*publisher, *_gpg(settings.keyring, "--import")], 60, public)
    for path, content in ((settings.public_key, public), (settings.fingerprint, f"{key}\n".encode())):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o644)
        new.rename(path)
    return key


def _replace_secret(settings: Settings, data: bytes) -> None:
    """Import `data` in the place of every secret that is here. gpg alone would keep an old one, or one of the same key
    under an old passphrase. Killed in between, the key is missing until the import is repeated."""
    signer = settings.as_user("signer")
    secrets, aside = settings.signer / "private-keys-v1.d", settings.signer / "replaced-keys"
    aside.mkdir(mode=0o700, exist_ok=True)
    for path in secrets.glob("*.key"):
        path.rename(aside / path.name)
    # With what an import that was killed had put aside.
    before = sorted(path.name for path in aside.iterdir())
    try:
        run([*signer, *_gpg(settings.signer, "--import")], 60, data)
    except CommandFailed:
        for name in before:
            (aside / name).rename(secrets / name)
        raise
    shutil.rmtree(aside)


def keygrips(settings: Settings) -> list[str]:
    """The keygrips of all secret keys on this machine; a primary key kept offline has none here."""
    words = ("--with-colons", "--with-keygrip", "--list-secret-keys")
    return [
        key.keygrip
        for key in _keys(run([*settings.as_user("signer"), *_gpg(settings.signer, *words)], 60))
        if key.secret
    ]


def unlock(settings: Settings, passphrase: str) -> None:
    """Give the agent the passphrase for every key and prove it by signing.

    Raises Locked with the reason if the key still can't sign; the passphrase is then forgotten again.
    """
    grips = keygrips(settings)
    if not grips:
        raise Failing(f"no secret key in {settings.signer}")
    words = ("gpg-connect-agent", "--no-autostart", "--homedir", os.fspath(settings.signer))
    agent = [*settings.as_user("signer"), *words]
    coded = passphrase.encode().hex().upper()
    # On stdin: a command line is seen by everybody on the machine.
    # The restricted socket has a cache of its own.
    preset = "PRESET_PASSPHRASE --restricted" if settings.restricted else "PRESET_PASSPHRASE"
    answer = run(agent, 60, "".join(f"{preset} {grip} -1 {coded}\n" for grip in grips).encode())
    try:
        if answer.split() != ["OK"] * len(grips):
            raise Locked(f"the agent refused the passphrase: {answer.strip()}")
        require_signing(settings, settings.as_user("publisher"))
    except Locked:
        run(agent, 60, "".join(f"CLEAR_PASSPHRASE --mode=normal {grip}\n" for grip in grips).encode())
        raise


def offer_public_key(settings: Settings) -> None:
    """Have the summaries from now on carry the public key: flatpak then brings a client's copy up to date, which is the
    way for a renewed expiry, a new spare subkey or a revocation to those who added the remote long ago. Repeatable.
    """
    user = settings.as_user("publisher")
    key = base64.b64encode(settings.public_key.read_bytes()).decode()
    # What `flatpak build-update-repo --gpg-import` sets, without making a summary now.
    run([*user, "ostree", f"--repo={settings.repository}", "config", "set", "flatpak.gpg-keys", key], 60)


def flatpakrepo(settings: Settings, url: str, homepage: str) -> str:
    """The file that a user gives to `flatpak remote-add`: address and public key."""
    public = run(
        [*settings.as_user("publisher"), *_gpg(settings.keyring, "--export", "--armor", fingerprint(settings))], 60
    )
    # The armor's body is the base64 that the file wants: without the header, the checksum and the footer.
    lines = public.strip().splitlines()
    body = lines[lines.index("") + 1 : -1]
    key = "".join(line for line in body if not line.startswith("="))
    base64.b64decode(key, validate=True)
    return (
        "[Flatpak Repo]\n"
        "Title=Flathub\n"
        f"Url={url}\n"
        f"Homepage={homepage}\n"
        "Comment=Applications for every Linux desktop\n"
        "Description=Applications for every Linux desktop, built from source in the open\n"
        f"GPGKey={key}\n"
    )
