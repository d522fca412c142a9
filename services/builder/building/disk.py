"""How much disk a build may use, and what it uses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

GIB = 1024**3

START_BYTES = 4 * GIB
"""What must be free before a build begins."""

SPARE_BYTES = 1 * GIB
"""What a build must leave free; the machine itself needs it."""

MAX_WORK_BYTES = 40 * GIB
"""What a work folder may hold: sources, the build, the packed objects."""

MAX_FILE_BYTES = 16 * GIB
"""What one file of a build may hold."""


def free_bytes(path: Path) -> int:
    """What a user without privileges may still write on the path's filesystem."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def measurement(path: Path) -> list[str]:
    """The command that prints how many bytes a folder takes.

    It follows no link and opens no file, so root may run it on what a stranger made, and must: a build can make folders
    that its own user can't read.
    """
    return ["du", "--summarize", "--block-size=1", "--one-file-system", "--", str(path)]


def read_measurement(printed: bytes) -> int:
    """The bytes that the command printed; 0 if it found nothing, since files come and go while it runs."""
    first = printed.split(maxsplit=1)[:1]
    return int(first[0]) if first and first[0].isdigit() else 0


def used_bytes(path: Path) -> int:
    """How many bytes a folder takes."""
    result = subprocess.run(measurement(path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return read_measurement(result.stdout)


def readable(size: int) -> str:
    """A size as people write it."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size} bytes"
