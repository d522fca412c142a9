"""Running ostree, flatpak and gpg: no shell, a deadline, and an error that carries what the program said."""

import os
import subprocess
from collections.abc import Sequence


class CommandFailed(Exception):
    """A program that failed or took too long; the text is fit for the result of a job."""


def run(argv: Sequence[str | os.PathLike[str]], timeout_seconds: int = 3600, data: bytes | None = None) -> str:
    """Run a program and return its standard output.

    Raises CommandFailed with the end of its output when it fails, can't be started or takes longer than
    `timeout_seconds`.
    """
    words = [os.fspath(word) for word in argv]
    name = " ".join(words[:2])
    try:
        done = subprocess.run(
            words,
            input=data if data is not None else b"",
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "GIO_USE_VFS": "local"},
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{name}: stopped after {timeout_seconds} s") from None
    except OSError as error:
        raise CommandFailed(f"{name}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise CommandFailed(f"{name} failed ({done.returncode}): {said[-2000:]}")
    return done.stdout.decode(errors="replace")
