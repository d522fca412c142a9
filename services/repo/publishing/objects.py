"""Commits and files of an OSTree repository in archive mode, read without a process for each."""

import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from . import gvariant

_COMMIT = "(a{sv}aya(say)sstayay)"
_DIRECTORY = "(a(say)a(sayay))"
_FILE_HEADER = "(tuuuusa(ayay))"
_FILE_HEADER_BYTES = 8
_MAX_COMMIT_BYTES = 128 * 1024**2


class Unreadable(Exception):
    """An object that is missing or is not what its name says; the text names it."""


@dataclass(frozen=True)
class Commit:
    """What is used of a commit; `made` is its time in seconds since 1970."""

    metadata: dict[str, gvariant.Value]
    parent: str | None
    subject: str
    body: str
    made: int
    tree: str


def path(repository: Path, checksum: str, kind: str) -> Path:
    return repository / "objects" / checksum[:2] / f"{checksum[2:]}.{kind}"


def _read(repository: Path, checksum: str, kind: str) -> bytes:
    try:
        file = path(repository, checksum, kind)
        if file.stat().st_size > _MAX_COMMIT_BYTES:
            raise Unreadable(f"{checksum}.{kind} is larger than {_MAX_COMMIT_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise Unreadable(f"{checksum}.{kind}: {error.strerror}") from None


def commit(repository: Path, checksum: str) -> Commit:
    """Read a commit. Raises Unreadable."""
    try:
        value = gvariant.read(_COMMIT, _read(repository, checksum, "commit"))
        return Commit(
            metadata=value[0].dictionary(),
            parent=value[1].bytes().hex() or None,
            subject=value[3].text(),
            body=value[4].text(),
            # Numbers are big-endian in objects, whatever machine made them.
            made=int.from_bytes(value[5].number().to_bytes(8, "little"), "big"),
            tree=value[6].bytes().hex(),
        )
    except gvariant.Malformed as error:
        raise Unreadable(f"{checksum}.commit: {error}") from None


@dataclass(frozen=True)
class Directory:
    """What is in one directory of a tree, by name: the files' and the folders' checksums."""

    files: dict[str, str]
    folders: dict[str, str]


def directory(repository: Path, tree: str) -> Directory:
    """Read a directory of a tree. Raises Unreadable."""
    try:
        files, folders = (
            [(entry[0].text(), entry[1].bytes().hex()) for entry in entries]
            for entries in gvariant.read(_DIRECTORY, _read(repository, tree, "dirtree"))
        )
    except gvariant.Malformed as error:
        raise Unreadable(f"{tree}.dirtree: {error}") from None
    found = Directory(dict(files), dict(folders))
    if len(found.files.keys() | found.folders.keys()) != len(files) + len(folders):
        raise Unreadable(f"{tree}.dirtree: a name appears twice")
    return found


def content(repository: Path, checksum: str, max_bytes: int) -> bytes:
    """The content of a regular file. Raises Unreadable, also if it is larger than `max_bytes`."""
    data = _read(repository, checksum, "filez")
    # Four bytes with the size of a header, four of padding, the header, and the content without zlib's own header.
    start = _FILE_HEADER_BYTES + int.from_bytes(data[:4], "big")
    try:
        # Big-endian, as in commits.
        mode = gvariant.read(_FILE_HEADER, data[_FILE_HEADER_BYTES:start])[3].number().to_bytes(4, "little")
        if not stat.S_ISREG(int.from_bytes(mode, "big")):
            raise Unreadable("not a regular file")
        found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], max_bytes + 1)
    except (zlib.error, gvariant.Malformed) as error:
        raise Unreadable(f"{checksum}.filez: {error}") from None
    if len(found) > max_bytes:
        raise Unreadable(f"larger than {max_bytes} bytes")
    return found
