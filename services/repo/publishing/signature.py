"""OSTree's signatures: GnuPG's own, in the form that OSTree keeps beside commits and summaries.

Made here, with one process for each, because a program that signs through GPGME starts seven.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import gvariant
from .command import CommandFailed, run
from .settings import Settings

_AT_ONCE = 2
_KEY = "ostree.gpgsigs"


class Unverifiable(Exception):
    """Something that a client would refuse or not find; the text names it."""


def _framed(body: bytes, end: int) -> bytes:
    """A container with one member whose end must be told: in as few bytes as the size of the whole needs."""
    width = next(width for width in (1, 2, 4, 8) if len(body) + width < 1 << (8 * width))
    return body + end.to_bytes(width, "little")


def encode(signature: bytes) -> bytes:
    """The serialised a{sv} whose key ostree.gpgsigs holds an aay of one signature."""
    variant = _framed(signature, len(signature)) + b"\0aay"
    name = _KEY.encode() + b"\0"
    # A variant begins at a multiple of eight.
    entry = _framed(name.ljust(16, b"\0") + variant, len(name))
    return _framed(entry, len(entry))


def decode(data: bytes) -> bytes:
    """The first signature of those in `data`. Raises Malformed, KeyError or IndexError."""
    return gvariant.read("a{sv}", data).dictionary()[_KEY][0].bytes()


def _gpg(settings: Settings, *words: str | Path) -> None:
    run(["gpg", "--homedir", settings.keyring, "--batch", "--no-autostart", "--no-tty", *words], 60)


def sign(settings: Settings, key: str, pairs: Sequence[tuple[Path, Path]]) -> None:
    """Sign the first file of each pair, and put the signature into the second. Raises CommandFailed."""

    def one(pair: tuple[Path, Path]) -> None:
        file, target = pair
        new = target.with_name(f"{target.name}.new")
        new.unlink(missing_ok=True)
        _gpg(settings, "--local-user", key, "--output", new, "--detach-sign", file)
        new.write_bytes(encode(new.read_bytes()))
        new.rename(target)

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(one, pairs))


def verify(settings: Settings, file: Path, signatures: Path) -> None:
    """Check the signature of a file, a summary or a commit, as a client does. Raises Unverifiable."""
    try:
        found = decode(signatures.read_bytes())
    except (OSError, KeyError, IndexError, gvariant.Malformed) as error:
        raise Unverifiable(f"{signatures}: {error!r}") from None
    with tempfile.NamedTemporaryFile(prefix="flathub-signature-") as signature:
        signature.write(found)
        signature.flush()
        try:
            _gpg(settings, "--verify", Path(signature.name), file)
        except CommandFailed as error:
            raise Unverifiable(f"{file}: {error}") from None
