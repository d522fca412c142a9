"""Waiting for what another build has, for as long as somebody wants this one."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable

from .job import BuildError, Job
from .output import say

POLL_SECONDS = 0.5
SAY_SECONDS = 1800
"""Between two lines in the log; well below the master's deadline on silence."""


def wait_until(job: Job, what: str, seconds: float, condition: Callable[[], bool]) -> None:
    """Poll a condition. Raises BuildError after so many seconds, or when nobody wants the build any more."""
    deadline = time.monotonic() + seconds
    say_at = 0.0
    while not condition():
        now = time.monotonic()
        if now >= deadline:
            raise BuildError(f"waited {seconds:.0f} seconds for {what}", 2)
        if now >= say_at:
            say(f"waiting for {what}, at most {deadline - now:.0f} seconds")
            say_at = now + SAY_SECONDS
        watched = [sys.stdin.fileno()] if job.end_with_input else []
        if select.select(watched, [], [], POLL_SECONDS)[0]:
            read_input()


def read_input() -> None:
    """Read what came on standard input. Raises BuildError if it is closed: that is how a build is cancelled."""
    if not os.read(sys.stdin.fileno(), 4096):
        raise BuildError("the worker is gone or has cancelled the build", 3)
