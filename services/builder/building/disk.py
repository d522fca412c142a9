"""How much disk a build may use, and what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3


@dataclass(frozen=True)
class Space:
    """A part of a disk: bytes, and files with folders, of which a filesystem may run out first."""

    bytes: int
    files: int

    def __str__(self) -> str:
        return f"{readable(self.bytes)} in {self.files} files"

    def holds(self, other: Space) -> bool:
        """Whether the other fits in."""
        return other.bytes <= self.bytes and other.files <= self.files

    def at_most(self, other: Space) -> Space:
        """Of each the smaller."""
        return Space(min(self.bytes, other.bytes), min(self.files, other.files))


START = Space(4 * GIB, 100_000)
"""What must be free before a build begins."""

SPARE = Space(1 * GIB, 20_000)
"""What builds must leave free; the machine itself needs it."""

MAX_SOURCE = Space(4 * GIB, 200_000)
"""What a checkout may take, with git's own files while it goes on."""

MAX_WORK = Space(40 * GIB, 2_000_000)
"""What a work folder may hold: sources, the build, the packed objects."""

MAX_SOURCE_FILE_BYTES = 2 * GIB
"""What one file of a checkout may hold."""

MAX_FILE_BYTES = 16 * GIB
"""What one file of a build may hold."""


def free_space(path: Path) -> Space:
    """What a user without privileges may still write on the path's filesystem."""
    status = os.statvfs(path)
    # Some filesystems make room for files as they need it, and say that they have room for none at all.
    return Space(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else sys.maxsize)


def measurements(path: Path) -> list[list[str]]:
    """The commands that print how many bytes a folder takes, and how many files.

    They follow no link and open no file, so root may run them on what a stranger made, and must: a build can make
    folders that its own user can't read.
    """
    return [
        ["du", "--summarize", what, "--one-file-system", "--", str(path)] for what in ("--block-size=1", "--inodes")
    ]


def read_measurement(printed: bytes) -> int:
    """The number that a command printed; 0 if it found nothing, since files come and go while it runs."""
    first = printed.split(maxsplit=1)[:1]
    return int(first[0]) if first and first[0].isdigit() else 0


def used_space(path: Path) -> Space:
    """What a folder takes."""
    run = (
        subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        for command in measurements(path)
    )
    return Space(*(read_measurement(result.stdout) for result in run))


def share(free: Space, builds: Space, max_builds: int) -> Space:
    """What one build may take of a disk with so much left and so much in all builds' folders.

    Builds that all take their share leave the spare, so one that takes too much ends before others lack anything.
    """
    room = Space(free.bytes + builds.bytes - SPARE.bytes, free.files + builds.files - SPARE.files)
    return MAX_WORK.at_most(Space(room.bytes // max_builds, room.files // max_builds))


def readable(size: int) -> str:
    """A size as people write it."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size} bytes"
