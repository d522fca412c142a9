"""Unpacking what a builder sent: a tar of an OSTree repository, made by strangers' code.

Runs as a user of its own that can reach neither the repository nor the key. Only objects and refs come out, written
under names checked here; the builder's configuration, summary and signatures stay behind.
"""

import configparser
import json
import os
import re
import shutil
import tarfile
from pathlib import Path

from . import scratch
from .job import ARCHITECTURES, is_job_id
from .settings import Settings

_OBJECT = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{62}\.(filez|dirtree|dirmeta|commit)", re.ASCII)
# No deeper than any ref is: what removes directories goes down into them by recursion.
_REF = re.compile(r"refs/heads/[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,7}", re.ASCII)
_CHUNK = 1024 * 1024
_MAX_CONFIG_BYTES = 64 * 1024


class Refused(Exception):
    """A tar that is not a builder's repository; the text says which member and why."""


def _path_in_repo(name: str) -> str:
    """The member's path below repo/, empty for repo/ itself."""
    parts = name.split("/")
    if name.startswith("/"):
        raise Refused(f"{name!r:.200}: absolute names are not allowed")
    if ".." in parts:
        raise Refused(f"{name!r:.200}: names with '..' are not allowed")
    parts = [part for part in parts if part not in ("", ".")]
    if parts and parts[0] != "repo":
        raise Refused(f"{name!r:.200}: everything must be below repo/")
    return "/".join(parts[1:])


def _check_kind(member: tarfile.TarInfo) -> None:
    kinds = {
        tarfile.LNKTYPE: "hard links",
        tarfile.SYMTYPE: "symbolic links",
        tarfile.CHRTYPE: "device nodes",
        tarfile.BLKTYPE: "device nodes",
        tarfile.FIFOTYPE: "named pipes",
    }
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
        raise Refused(f"{member.name!r:.200}: {kinds.get(member.type, 'members of this type')} are not allowed")
    if member.mode & 0o6000:
        raise Refused(f"{member.name!r:.200}: set-user-ID and set-group-ID modes are not allowed")


def _check_end(path: Path) -> None:
    """A tar ends with two blocks of zeros; tarfile would take one cut off between two members for complete."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 1024))
        if size < 1024 or any(file.read(1024)):
            raise Refused("the tar is truncated: it has no end-of-archive mark")


def _require_room(needed: int, settings: Settings) -> None:
    """Raise Refused unless so many bytes fit without touching what must stay free."""
    free = shutil.disk_usage(settings.unpacked).free
    if free < needed + settings.min_free_bytes:
        raise Refused(f"no room to unpack it: {needed + settings.min_free_bytes} bytes needed, {free} free")


def _copy(source, target: Path, size: int, settings: Settings) -> None:
    # Every file takes whole blocks, however small it is: only the volume itself tells how much is left.
    _require_room(min(size, _CHUNK), settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    except FileExistsError:
        raise Refused(f"{target.name}: appears twice") from None
    with os.fdopen(descriptor, "wb") as file:
        left = size
        while left:
            block = source.read(min(left, _CHUNK))
            if not block:
                raise Refused("the tar is truncated")
            file.write(block)
            left -= len(block)
            _require_room(min(left, _CHUNK), settings)


def _check_mode(config: str) -> None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(config)
    except configparser.Error as error:
        raise Refused(f"repo/config can't be read: {error}") from None
    mode = parser.get("core", "mode", fallback="bare")
    if mode not in ("archive", "archive-z2"):
        raise Refused(f"repo/config: the repository's mode is {mode!r:.50}, expected archive-z2")


def unpack_tar(path: Path, target: Path, settings: Settings) -> None:
    """Unpack one architecture's tar into `target`, which becomes an OSTree repository in archive mode.

    Raises Refused, naming the member, for anything but regular files and directories below repo/, for a tar that is
    truncated, and for one with more bytes or members than the settings allow or than the volume has room for.
    """
    _check_end(path)
    scratch.make(target)
    config, total = None, 0
    try:
        with tarfile.open(path, "r|", errorlevel=2) as tar:
            for count, member in enumerate(tar):
                name = _path_in_repo(member.name)
                _check_kind(member)
                total += member.size
                if count >= settings.max_members:
                    raise Refused(f"more than {settings.max_members} members")
                if total > settings.max_unpacked_bytes:
                    raise Refused(f"more than {settings.max_unpacked_bytes} bytes when unpacked")
                if member.isdir():
                    continue
                if name == "config":
                    if member.size > _MAX_CONFIG_BYTES:
                        raise Refused(f"repo/config is larger than {_MAX_CONFIG_BYTES} bytes")
                    config = tar.extractfile(member).read().decode(errors="replace")
                elif _OBJECT.fullmatch(name) or _REF.fullmatch(name):
                    _copy(tar.extractfile(member), target / name, member.size, settings)
    except tarfile.TarError as error:
        raise Refused(f"the tar can't be read: {error}") from None
    if config is None:
        raise Refused("the tar has no repo/config: it is not an OSTree repository")
    _check_mode(config)


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def unpack_requested(settings: Settings) -> None:
    """Remove what the last run left, unpack what unpack.json asks for, and write answer.json; without a request only
    remove."""
    _clear(settings.unpacked)
    try:
        request = json.loads(settings.unpack_request.read_text())
    except FileNotFoundError:
        return
    job, architectures = request["id"], request["architectures"]
    if not is_job_id(job) or not set(architectures) <= set(ARCHITECTURES):
        raise ValueError(f"{settings.unpack_request}: not a request: {request!r:.200}")
    error = None
    for architecture in architectures:
        tar = settings.work / job / "job" / f"{architecture}.tar"
        try:
            _require_room(tar.stat().st_size, settings)
            unpack_tar(tar, settings.unpacked / architecture, settings)
        except (Refused, OSError) as reason:
            error = f"{architecture}.tar: {reason}"
            # Nobody reads it any more, and the answer may need its room.
            _clear(settings.unpacked)
            break
    answer = settings.unpack_answer
    answer.with_suffix(".new").write_text(json.dumps({"id": job, "error": error}))
    answer.with_suffix(".new").rename(answer)
