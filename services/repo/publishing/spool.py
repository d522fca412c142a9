"""The spool: jobs on their way through the publisher."""

import json
import shutil
import time
from pathlib import Path

from . import durable
from .job import InvalidJob, is_job_id
from .settings import Settings

_MAX_ERROR_CHARACTERS = 4000


def write_json(path: Path, value: object, mode: int = 0o644) -> None:
    """Replace `path` in one step, so that a reader never sees half of it and a power cut leaves old or new."""
    durable.write(path, json.dumps(value, indent=1) + "\n", path.with_name(f".{path.name}.new"), mode)


class Spool:
    """The publisher's view of the spool. A job's directory is in `queue`, then in `work`; its result is written last
    but for the removal of the latter, so that a job is finished exactly when its directory is gone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def begun(self) -> list[str]:
        """The jobs in the work directory, the smallest number first."""
        return sorted((e.name for e in self._settings.work.iterdir() if is_job_id(e.name) and e.is_dir()), key=int)

    def queued(self) -> list[str]:
        """The jobs that nobody has taken yet, the smallest number first."""
        return sorted((e.name for e in self._settings.queue.iterdir() if is_job_id(e.name)), key=int)

    def waiting(self) -> list[str]:
        """The jobs to do: first those that an earlier run has begun."""
        begun = self.begun()
        return begun + [job for job in self.queued() if job not in begun]

    def is_empty(self) -> bool:
        return not self.waiting()

    def take(self, job: str) -> None:
        """Move a job into the work directory, where only the publisher can change it.

        A result left from an earlier request of the same name is removed first: from here on a result is this one's.
        Raises InvalidJob for one that the worker has put there so that it can't be moved.
        """
        work, queued = self._settings.work / job, self._settings.queue / job
        if not (work / "job").exists():
            self.result(job).unlink(missing_ok=True)
            work.mkdir(exist_ok=True)
            try:
                queued.rename(work / "job")
            except OSError as error:
                # Out of the way, or it would be tried for ever.
                queued.rename(queued.with_name(f".refused-{job}-{time.time_ns()}"))
                raise InvalidJob(f"{queued} can't be taken: {error.strerror}") from None

    def result(self, job: str) -> Path:
        return self._settings.results / f"{job}.json"

    def finish(self, job: str, refs: dict[str, str], error: str | None) -> None:
        """Write the result, `error` None for a job that is published. The job itself is removed by `remove`."""
        status = "failed" if error else "published"
        # What strangers' builds made can be part of it.
        error = error and error[:_MAX_ERROR_CHARACTERS]
        print(f"{job}: {status} {error or ''}".rstrip(), flush=True)
        write_json(self.result(job), {"id": job, "status": status, "error": error, "refs": refs})

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
