"""The spool: jobs on their way through the publisher, and what others may know about them."""

import json
import os
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from .job import is_job_id
from .settings import Settings


def _natural(job: str) -> tuple[tuple[bool, int, str], ...]:
    """Sorts build numbers as numbers: 9 before 10."""
    return tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", job))


def write_json(path: Path, value: object, mode: int = 0o644) -> None:
    """Replace `path` in one step, so that a reader never sees half of it and a power cut leaves old or new."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)
    new.rename(path)


class Spool:
    """The publisher's view of the spool. A job's directory is in `queue`, then in `work`; its result is written last
    but for the removal of the latter, so that a job is finished exactly when its directory is gone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def waiting(self) -> list[str]:
        """The jobs to do, in order: first those that an earlier run has begun."""
        begun = [entry.name for entry in self._settings.work.iterdir() if entry.is_dir() and is_job_id(entry.name)]
        queued = [entry.name for entry in self._settings.queue.iterdir() if is_job_id(entry.name)]
        return sorted(begun, key=_natural) + sorted(set(queued) - set(begun), key=_natural)

    def take(self, job: str) -> Path:
        """Move a job into the work directory, where only the publisher can change it; returns that directory.

        A result left from an earlier request of the same name is removed first: from here on a result is this one's.
        """
        work = self._settings.work / job
        if not (work / "job").exists():
            self.result(job).unlink(missing_ok=True)
            work.mkdir(exist_ok=True)
            (self._settings.queue / job).rename(work / "job")
        return work

    def result(self, job: str) -> Path:
        return self._settings.results / f"{job}.json"

    def finish(self, job: str, result: dict[str, object]) -> None:
        """Write the result and remove the job."""
        write_json(self.result(job), result)
        self.remove(job)

    def is_finished(self, job: str) -> bool:
        """Whether a job in the work directory has its result already: it was killed before its removal."""
        return (self._settings.work / job).exists() and self.result(job).exists()

    def remove(self, job: str) -> None:
        """Remove a job from the work directory, whatever the worker left in it."""
        directory = self._settings.work / job
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            # The worker owns its part, and may have made what others can't remove: out of the way, under a name that
            # is no job's.
            aside = self._settings.work / f".left-{job}-{time.time_ns()}"
            directory.rename(aside)
            print(f"{job}: can't be removed, left as {aside}", flush=True)

    def write_status(self, signing: str, publishing: str | None, message: str) -> None:
        """Tell what goes on: signing is "unlocked" or "locked", publishing the job at work or None."""
        write_json(
            self._settings.status,
            {
                "signing": signing,
                "publishing": publishing,
                "waiting": self.waiting(),
                "message": message,
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
