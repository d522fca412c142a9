"""What is done when no job waits and nothing is to be listed."""

import json
import shutil
import time
from collections.abc import Callable

from .command import CommandFailed
from .listing import Listing
from .repository import Repository
from .retention import Retention
from .served import Served
from .settings import Settings
from .spool import write_json


class Idle:
    """Work that a job interrupts; how long ago the rare parts of it came to their end is remembered."""

    def __init__(self, settings: Settings, repository: Repository, served: Served, listing: Listing) -> None:
        self._settings, self._served, self._listing = settings, served, listing
        self._retention = Retention(settings, repository, served)
        self._path = settings.work / "idle.json"

    def _done(self) -> dict[str, float]:
        try:
            return json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}

    def _is_due(self, work: str, interval_seconds: int) -> bool:
        return time.time() - self._done().get(work, 0) >= interval_seconds

    def _remember(self, work: str) -> None:
        write_json(self._path, {**self._done(), work: time.time()})

    def run(self, urgent: Callable[[], bool]) -> None:
        """Do what is due. Raises Interrupted when a job comes."""
        settings = self._settings
        self._served.spare()
        self._served.retire()
        self._retention.remove_leftovers()
        if self._is_due("whole list deltas", settings.list_delta_interval_seconds):
            self._listing.make_whole_deltas(urgent)
            self._remember("whole list deltas")
        if "prune" not in self._done():
            # The first one is due an interval after the repository was made.
            self._remember("prune")
        volume = shutil.disk_usage(settings.repository)
        low = volume.free < settings.low_space_fraction * volume.total
        if self._is_due("prune", settings.low_space_prune_interval_seconds if low else settings.prune_interval_seconds):
            self._retention.drop_deltas()
            overdue = low or self._is_due("prune", settings.prune_overdue_seconds)
            try:
                self._retention.prune((lambda: False) if overdue else urgent)
            except CommandFailed as error:
                # Tried again after the interval: what is served does not depend on it.
                print(f"old commits stay: {error}", flush=True)
            self._remember("prune")
