"""Signing with the key that the signer's gpg-agent holds."""

import base64
import os
import tempfile
from pathlib import Path

from .command import CommandFailed, run
from .settings import Settings

_PROBE = b"Can the key sign?\n"


class Locked(Exception):
    """The key can't be used now: not an error of any job, which waits."""


def _gpg(home: Path, *words: str) -> list[str]:
    return ["gpg", "--homedir", os.fspath(home), "--batch", "--no-autostart", "--no-tty", *words]


def fingerprint(settings: Settings) -> str:
    """The fingerprint of the primary key. Raises Locked if no key was imported yet."""
    try:
        return settings.fingerprint.read_text().strip()
    except FileNotFoundError:
        raise Locked(f"no signing key was imported: {settings.fingerprint} is missing") from None


def require_signing(settings: Settings, user: tuple[str, ...] = ()) -> None:
    """Sign something and verify the signature: the only proof that the key is unlocked. Raises Locked if it fails.

    `user` are the words that make the commands run as the publisher, when called by root.
    """
    key = fingerprint(settings)
    try:
        signature = run([*user, *_gpg(settings.keyring, "--local-user", key, "--armor", "--detach-sign")], 60, _PROBE)
        with tempfile.NamedTemporaryFile(prefix="flathub-probe-", suffix=".asc") as file:
            file.write(signature.encode())
            file.flush()
            os.chmod(file.name, 0o644)
            run([*user, *_gpg(settings.keyring, "--verify", file.name, "-")], 60, _PROBE)
    except CommandFailed as error:
        # The first lines are gpg's remarks, the last one is why it gave up.
        reason = str(error).strip().splitlines()[-1]
        raise Locked(f"{key} can't sign: the agent has no, or a wrong, passphrase for it ({reason})") from None


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


def import_key(settings: Settings, key_file: Path) -> str:
    """Import the armored secret key into the signer's home and its public half into the publisher's; repeatable.

    The key stays encrypted with its passphrase on disk. The signer's agent must be running. Returns the fingerprint.
    """
    signer, publisher = settings.as_user("signer"), settings.as_user("publisher")
    data = key_file.read_bytes()
    shown = run(
        [*signer, *_gpg(settings.signer, "--with-colons", "--import-options", "show-only", "--import")], 60, data
    )
    key = _primary(shown)
    run([*signer, *_gpg(settings.signer, "--import")], 60, data)
    public = run([*signer, *_gpg(settings.signer, "--armor", "--export", key)], 60).encode()
    run([*publisher, *_gpg(settings.keyring, "--import")], 60, public)
    for path, content in ((settings.public_key, public), (settings.fingerprint, f"{key}\n".encode())):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o644)
        new.rename(path)
    return key


def keygrips(settings: Settings) -> list[str]:
    """The keygrips of all secret keys on this machine; a primary key kept offline has none here."""
    grips, here = [], False
    listing = run(
        [*settings.as_user("signer"), *_gpg(settings.signer, "--with-colons", "--with-keygrip", "--list-secret-keys")],
        60,
    )
    for line in listing.splitlines():
        fields = line.split(":")
        if fields[0] in ("sec", "ssb"):
            here = fields[14] != "#"
        elif fields[0] == "grp" and here:
            grips.append(fields[9])
    return grips


def unlock(settings: Settings, passphrase: str) -> None:
    """Give the agent the passphrase for every key and prove it by signing.

    Raises Locked with the reason if the key still can't sign; the passphrase is then forgotten again.
    """
    grips = keygrips(settings)
    if not grips:
        raise Locked(f"no secret key in {settings.signer}")
    agent = [
        *settings.as_user("signer"),
        "gpg-connect-agent",
        "--no-autostart",
        "--homedir",
        os.fspath(settings.signer),
    ]
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
