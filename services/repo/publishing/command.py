"""Running ostree, flatpak and gpg: no shell, a deadline, and an error that carries what the program said."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence

_POLL_SECONDS = 0.1


class CommandFailed(Exception):
    """A program that failed or took too long; the text is fit for the result of a job."""


class Interrupted(Exception):
    """A program was ended because something more urgent came; what it was at is done later."""


def run(
    argv: Sequence[str | os.PathLike[str]],
    timeout_seconds: int = 3600,
    data: bytes | None = None,
    urgent: Callable[[], bool] | None = None,
) -> str:
    """Run a program and return its standard output.

    Raises CommandFailed with the end of its output when it fails, can't be started or takes longer than
    `timeout_seconds`. `urgent` is asked ten times a second; when it says yes the program is killed and Interrupted
    is raised.
    """
    words = [os.fspath(word) for word in argv]
    name = " ".join(words[:2])
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8", "GIO_USE_VFS": "local"},
        )
    except OSError as error:
        raise CommandFailed(f"{name}: {error}") from error
    end = time.monotonic() + timeout_seconds
    with process:
        try:
            while True:
                try:
                    left = max(0.0, end - time.monotonic())
                    output, errors = process.communicate(data, left if urgent is None else min(left, _POLL_SECONDS))
                    break
                except subprocess.TimeoutExpired:
                    # It can be given once only; what is left of it is remembered.
                    data = None
                    if time.monotonic() >= end:
                        raise CommandFailed(f"{name}: stopped after {timeout_seconds} s") from None
                    if urgent is not None and urgent():
                        raise Interrupted(name) from None
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        said = (errors + output).decode(errors="replace").strip()
        raise CommandFailed(f"{name} failed ({process.returncode}): {said[-2000:]}")
    return output.decode(errors="replace")
