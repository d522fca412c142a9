"""Asking for a publish, and waiting for its result: what the worker may do."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .command import CommandFailed, run
from .job import InvalidJob, is_job_id
from .settings import Settings

_POLL_SECONDS = 1.0
_REPORT_SECONDS = 30.0


def _read(path: Path) -> dict[str, object] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def enqueue(settings: Settings, job: str) -> None:
    """Hand a complete job over to the publisher. Does nothing for one that is handed over already: what was transferred
    once more is removed.

    Raises InvalidJob if there is no such job, and none that was, or if another one of that name is in the queue.
    """
    source, target = _places(settings, job)
    if source.is_dir() and not source.is_symlink():
        # The publisher is in the group: it moves the directory, and the unpacker reads the files.
        for entry in source.iterdir():
            if not entry.is_symlink():
                entry.chmod(0o640)
        source.chmod(0o770)
        queued = _description(target)
        if queued is None:
            source.rename(target)
        elif queued == _description(source):
            shutil.rmtree(source)
        else:
            raise InvalidJob(f"another job {job} is in the queue already")
    elif not (target.exists() or (settings.results / f"{job}.json").exists() or _is_at_work(settings, job)):
        raise InvalidJob(f"there is no job {job}: {source} does not exist")


def _places(settings: Settings, job: str) -> tuple[Path, Path]:
    """A job's directory before and after it is handed over. Raises InvalidJob for a name that is none."""
    if not is_job_id(job):
        raise InvalidJob(f"{job!r:.100} is not a job's name: expected the number of a build")
    return settings.incoming / job, settings.queue / job


def _description(directory: Path) -> bytes | None:
    try:
        return (directory / "job.json").read_bytes()
    except FileNotFoundError:
        return None


def _is_at_work(settings: Settings, job: str) -> bool:
    status = _read(settings.status)
    return status is not None and job in (*status.get("publishing", []), *status.get("waiting", []))


def wait(settings: Settings, job: str, deadline_seconds: float, say: Callable[[str], None]) -> dict[str, object]:
    """Wait for the result of a job, telling what it waits for.

    Raises TimeoutError, naming what the publisher was doing, after `deadline_seconds`; the job stays where it is.
    """
    end, told, message, nudge = time.monotonic() + deadline_seconds, 0.0, "", 0.0
    while True:
        queued = (settings.queue / job).exists()
        result = None if queued else _read(settings.results / f"{job}.json")
        if result is not None:
            return result
        now = time.monotonic()
        if now >= nudge:
            # Again and again: the publisher ends when its queue is empty, fails, or finds the key locked.
            try:
                run(settings.publisher_command, 60)
            except CommandFailed as error:
                say(f"the publisher can't be started, trying again: {error}")
            nudge = now + 10 * _POLL_SECONDS
        status = _read(settings.status) or {}
        current = str(status.get("message", "the publisher has not started yet"))
        if current != message or now >= told + _REPORT_SECONDS:
            say(f"{'waiting in the queue' if queued else 'taken by the publisher'}; {current}")
            message, told = current, now
        if now >= end:
            raise TimeoutError(f"{job}: no result after {deadline_seconds:.0f} s. {current}")
        time.sleep(_POLL_SECONDS)


def room(settings: Settings, size: int, say: Callable[[str], None]) -> int:
    """Whether tars of `size` bytes together can be transferred, unpacked and imported; returns the exit status.

    First what was transferred for jobs that were never requested is removed.
    """
    _remove_leftovers(settings)
    # The tars, what comes out of them, its copy in the repository, and as much again for deltas; the same without the
    # tars themselves for each job that is here already.
    here = sum(
        tar.stat().st_size
        for place in ("incoming/*", "queue/*", "work/*/job")
        for tar in settings.spool.glob(f"{place}/*.tar")
    )
    needed, free = 4 * size + 3 * here + settings.min_free_bytes, shutil.disk_usage(settings.spool).free
    if free < needed:
        say(f"no room for {size} bytes: {needed} bytes needed with all that comes of them, {free} free")
        return 1
    return 0


def _remove_leftovers(settings: Settings) -> None:
    for entry in settings.incoming.iterdir():
        newest = max((path.lstat().st_mtime for path in (entry, *entry.glob("*"))), default=0)
        if newest + settings.incoming_age_seconds < time.time():
            shutil.rmtree(entry, ignore_errors=True)


def publish(settings: Settings, job: str, deadline_seconds: float, say: Callable[[str], None]) -> int:
    """Enqueue and wait; returns the exit status, 0 only if the job is published."""
    try:
        enqueue(settings, job)
        result = wait(settings, job, deadline_seconds, say)
    except (InvalidJob, TimeoutError, OSError, subprocess.SubprocessError) as error:
        say(f"not published: {error}")
        return 1
    if result["status"] != "published":
        say(f"not published: {result['error']}")
        return 1
    for ref, commit in sorted(result["refs"].items()):
        say(f"published {ref} {commit}")
    return 0


def withdraw(settings: Settings, job: str, say: Callable[[str], None]) -> int:
    """Take a job back unless the publisher has taken it; returns the exit status, 1 for a job that is at work."""
    try:
        source, target = _places(settings, job)
        shutil.rmtree(source, ignore_errors=True)
        # Out of the publisher's reach first, as a whole.
        target.rename(source)
        shutil.rmtree(source)
    except FileNotFoundError:
        if (settings.results / f"{job}.json").exists() or not _is_at_work(settings, job):
            say(f"{job} is not in the queue")
            return 0
        say(f"{job} is at work: the publisher finishes it")
        return 1
    except (InvalidJob, OSError) as error:
        say(f"not withdrawn: {error}")
        return 1
    say(f"{job} is withdrawn")
    return 0
