"""The build user's home: the runtimes that builds share, kept below a size.

Nothing in it is more than a copy; what was removed is fetched again by the next build that needs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .account import BUILD, account
from .disk import GIB, START, free_space, readable, used_space
from .job import BuildError, Job
from .output import say
from .waiting import wait_until
from .work import remove

HOME = Path("/var/lib/build/home")

MAX_BYTES = 30 * GIB
"""What the runtimes may take before they are removed."""

ROOM_SECONDS = 2 * 3600.0
"""For how long a build waits until those beside it have ended, if there is no room for it."""


@contextlib.contextmanager
def shared_home(job: Job) -> Iterator[Path]:
    """The home, for one build among several; emptied first if it is too large, or the disk too full, and nobody uses it.

    Raises BuildError if there is no room for a build: at once if nothing else builds, otherwise after a while.
    """
    build = account(BUILD)
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME.parent / "home.lock", "w") as lock:
        if not empty_if_needed(lock) and not has_room():
            wait_until(
                job,
                "room on the disk, or the end of the other builds",
                ROOM_SECONDS,
                lambda: has_room() or empty_if_needed(lock),
            )
        fcntl.flock(lock, fcntl.LOCK_SH)
        HOME.mkdir(exist_ok=True)
        os.chown(HOME, build.pw_uid, build.pw_gid)
        HOME.chmod(0o700)
        if not has_room():
            raise BuildError(
                f"no room for a build: {free_space(HOME)} are free on {HOME}'s filesystem, {START} needed", 2
            )
        yield HOME


def has_room() -> bool:
    """Whether a build can begin."""
    return free_space(HOME.parent).holds(START)


def empty_if_needed(lock: IO[str]) -> bool:
    """Remove the home if it is too large or the disk too full; False if others use it. The lock may be kept."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    used = used_space(HOME).bytes
    if used > MAX_BYTES or not has_room():
        free = free_space(HOME.parent)
        say(f"removing the runtimes, {readable(used)} with {free} free; they are fetched again when needed")
        remove(HOME)
    return True
