"""The build user's home: the runtimes that builds share, kept below a size.

Nothing in it is more than a copy; what was removed is fetched again by the next build that needs it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from .account import BUILD, account
from .disk import GIB, START_BYTES, free_bytes, readable, used_bytes
from .job import BuildError
from .output import say
from .work import remove

HOME = Path("/var/lib/build/home")

MAX_BYTES = 30 * GIB
"""What the runtimes may take before they are removed."""


@contextlib.contextmanager
def shared_home() -> Iterator[Path]:
    """The home, for one build among several; emptied first if it is too large, or the disk too full, and nobody uses it.

    Raises BuildError if there is no room for a build.
    """
    build = account(BUILD)
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME.parent / "home.lock", "w") as lock:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            empty_if_needed()
        fcntl.flock(lock, fcntl.LOCK_SH)
        HOME.mkdir(exist_ok=True)
        os.chown(HOME, build.pw_uid, build.pw_gid)
        HOME.chmod(0o700)
        free = free_bytes(HOME)
        if free < START_BYTES:
            raise BuildError(
                f"no room for a build: {readable(free)} are free on {HOME}'s filesystem, {readable(START_BYTES)} needed",
                2,
            )
        yield HOME


def empty_if_needed() -> None:
    """Remove the home if it is too large or the disk too full. The caller makes sure that nobody uses it."""
    used, free = used_bytes(HOME), free_bytes(HOME)
    if used <= MAX_BYTES and free >= START_BYTES:
        return
    say(f"removing the runtimes, {readable(used)} with {readable(free)} free; they are fetched again when needed")
    remove(HOME)
