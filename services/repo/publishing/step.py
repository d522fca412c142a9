"""The steps that the publisher goes through, by name: it may be killed in or after any of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

STEPS = (
    # A batch: jobs become installable.
    "take",
    "unpack",
    "import",
    "commit",
    "verify",
    "decide",
    "move",
    "deltas",
    "record",
    "results",
    "clean",
    # What clients read is made anew and switched to; in a batch, and when applications are listed.
    "summary",
    "delta indexes",
    "prepare",
    "check",
    "switch",
    "retire",
    # What was published is listed.
    "list",
    "list deltas",
    "listed",
    # When nothing is to be done.
    "spare refs",
    "whole list deltas",
    "drop deltas",
    "prune",
    "leftovers",
    # A batch that can't be finished is taken back.
    "undo",
)


def report(name: str, seconds: float) -> None:
    """Called after every step; the journal shows those that took their time."""
    if seconds >= 1:
        print(f"{name}: {seconds:.1f} s", flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """The body is the step `name`; it is reported when it came to its end."""
    if name not in STEPS:
        raise ValueError(f"{name!r} is no step: expected one of {', '.join(STEPS)}")
    begin = time.monotonic()
    yield
    report(name, time.monotonic() - begin)
