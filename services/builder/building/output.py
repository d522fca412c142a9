"""The build's log."""

import os
import sys


def say(message: str) -> None:
    """Print a line into the build's log at once. Work and cleaning up go on when nobody reads it any more."""
    try:
        print(f"run-build: {message}", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
