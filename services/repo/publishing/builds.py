"""Which build of each application is published: an older one never takes its place."""

import json
from dataclasses import asdict, dataclass

from .job import InvalidJob, Job
from .settings import Settings
from .spool import write_json


@dataclass(frozen=True)
class Build:
    """A published build: its number, and when its builder made it, in seconds since 1970."""

    number: int
    made: int


class Builds:
    """A file an application, on the data volume: it outlives the machine, and Buildbot's database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def published(self, app: str) -> Build | None:
        try:
            data = json.loads((self._settings.builds / f"{app}.json").read_text())
            return Build(int(data["number"]), int(data["made"]))
        except FileNotFoundError:
            return None

    def require_newer(self, job: Job, made: int) -> None:
        """Raise InvalidJob if a newer build of the application is published.

        A smaller number is an older build, unless it was made so much later that it must be from a master which began
        to count anew.
        """
        published = self.published(job.app)
        if (
            published
            and job.number < published.number
            and made <= (published.made + self._settings.renumbered_after_seconds)
        ):
            raise InvalidJob(f"superseded by build {published.number}, which is published")

    def record(self, app: str, build: Build) -> None:
        write_json(self._settings.builds / f"{app}.json", asdict(build))
