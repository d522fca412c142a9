"""Where builds wait on the master between their builder and repo."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

UPLOADS = Path(os.environ.get("FLATHUB_UPLOADS", "/srv/buildbot/uploads"))
SPOOL = os.environ.get("FLATHUB_SPOOL", "/srv/spool/incoming")
"""Folder on repo that takes what is to be published."""

BLOCK_BYTES = 512 * 1024
"""A block of a transfer. Not a whole MiB: Twisted's Perspective Broker, which carries it, refuses to send a string of
more than 640 KiB."""

MAX_BYTES = int(os.environ.get("FLATHUB_MAX_UPLOAD_BYTES", "8589934592"))
"""Largest repository of one architecture; a larger one is not uploaded. Default: 8 GiB."""

RESERVE_BYTES = int(os.environ.get("FLATHUB_UPLOAD_RESERVE_BYTES", "2147483648"))
"""What uploads leave free of the volume: the database is on it too. Default: 2 GiB."""

SHA256 = re.compile(r"[0-9a-f]{64}")


class NoRoom(Exception):
    """An upload that would not fit; the text says what is needed and what there is."""


class ChecksumError(Exception):
    """An upload that is not what the worker has."""


def build_folder(build_id: str) -> Path:
    """Folder of a build's uploads."""
    if not build_id.isdecimal():
        raise ValueError(f"build id {build_id!r} is not a number")
    return UPLOADS / build_id


def archive(build_id: str, architecture: str) -> Path:
    """The upload of one architecture."""
    return build_folder(build_id) / f"{architecture}.tar"


class Room:
    """The volume's free space, with what running uploads are still going to take."""

    def __init__(self) -> None:
        self._expected: dict[Path, int] = {}

    def reserve(self, path: Path, size: int) -> None:
        """Set room aside for an upload; NoRoom if there is too little."""
        free = shutil.disk_usage(UPLOADS).free - sum(self._expected.values()) - RESERVE_BYTES
        if size > free:
            raise NoRoom(
                f"no room on the master: {path.name} has {size} bytes; {max(0, free)} are free beyond what other uploads "
                f"take and {RESERVE_BYTES} that stay free"
            )
        self._expected[path] = size

    def release(self, path: Path) -> None:
        """The upload has ended: what it took is no longer free."""
        self._expected.pop(path, None)

    def arrived(self, path: Path, size: int) -> None:
        """So many bytes of an upload are on the volume."""
        if path in self._expected:
            self._expected[path] = max(0, self._expected[path] - size)


room = Room()


def accept(path: Path, size: int, sha256: str) -> None:
    """Verify an upload and note its checksum beside it; ChecksumError otherwise. Reads the whole file: for a thread."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        length = os.fstat(file.fileno()).st_size
    if (length, found) != (size, sha256):
        raise ChecksumError(
            f"{path.name}: arrived with {length} bytes and SHA-256 {found}; the worker has {size} bytes and {sha256}"
        )
    path.with_suffix(".sha256").write_text(found)


def checksums(build_id: str, architectures: list[str]) -> dict[str, str]:
    """The checksums of a build's uploads by architecture; FileNotFoundError if one was not accepted."""
    return {name: archive(build_id, name).with_suffix(".sha256").read_text() for name in architectures}


def total_bytes(build_id: str, architectures: list[str]) -> int:
    """Size of a build's uploads."""
    return sum(archive(build_id, name).stat().st_size for name in architectures)


def remove_all() -> None:
    """Remove every upload; at the master's start, which no build survives."""
    for path in UPLOADS.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
