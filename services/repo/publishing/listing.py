"""Listing what is published: the appstream branches, where software centres find applications.

It is the expensive half of a publish and one listing does for any number of publishes, so it waits for a moment
without jobs; but not for ever.
"""

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from . import deltas
from .deltas import Delta
from .repository import Repository
from .served import Served
from .settings import Settings
from .spool import write_json
from .step import step
from .views import TOGETHER, View

_BRANCHES = "appstream2/"


class Listing:
    def __init__(self, settings: Settings, repository: Repository, served: Served) -> None:
        self._settings, self._repository, self._served = settings, repository, served
        self._path = settings.work / "unlisted.json"

    def _unlisted(self) -> dict[str, float] | None:
        try:
            return json.loads(self._path.read_text())
        except FileNotFoundError:
            return None

    def add(self, publishes: int) -> None:
        """Remember that so many publishes are to be listed."""
        before = self._unlisted() or {"since": time.time(), "publishes": 0}
        write_json(self._path, {"since": before["since"], "publishes": before["publishes"] + publishes})

    def is_pending(self) -> bool:
        return self._unlisted() is not None

    def is_overdue(self) -> bool:
        """Whether what was published must be listed now, although jobs wait."""
        unlisted = self._unlisted()
        return unlisted is not None and (
            time.time() - unlisted["since"] >= self._settings.list_after_seconds
            or unlisted["publishes"] >= self._settings.list_after_publishes
        )

    def give_up(self) -> None:
        """After a listing that failed: the next one makes its views anew, and jobs go first."""
        for view in self._settings.views.iterdir():
            shutil.rmtree(view)
        self._postpone()

    def _postpone(self) -> None:
        """Jobs go first again, for as long as after a publish."""
        write_json(self._path, {"since": time.time(), "publishes": 0})

    def run(self, urgent: Callable[[], bool]) -> None:
        """List what is published. Raises Interrupted, to be done again, when a job comes that need not wait."""
        overdue = self.is_overdue()
        if overdue:
            # Should it be what kills the publisher, the next run begins with the jobs.
            self._postpone()

        def stop() -> bool:
            return urgent() and not (overdue or self.is_overdue())

        with step("list"):
            self._make_lists(stop)
        before, now = self._served.refs(), self._branches()
        with step("list deltas"):
            # From what clients have: a run that was killed may have made a commit in between that nobody saw.
            moved = ((before.get(ref), commit) for ref, commit in sorted(now.items()))
            deltas.generate(self._settings, [Delta(old, new) for old, new in moved if old and old != new], stop)
        self._served.publish(now)
        with step("listed"):
            self._path.unlink(missing_ok=True)

    def _make_lists(self, stop: Callable[[], bool]) -> None:
        """The lists of all architectures; those of a view at once."""
        refs = self._repository.refs()
        views = [View(self._settings, architectures) for architectures in TOGETHER]

        def make(view: View) -> dict[str, str]:
            if not view.update(refs):
                return {}
            self._repository.list_applications(view.path, stop)
            return {ref: commit for ref, commit in view.lists().items() if refs.get(ref) != commit}

        with ThreadPoolExecutor(max_workers=len(views)) as pool:
            made = {ref: commit for moved in pool.map(make, views) for ref, commit in moved.items()}
        self._repository.sign(sorted(set(made.values())))
        self._repository.write_refs(made)

    def _branches(self) -> dict[str, str]:
        directory = self._settings.repository / "refs/heads" / _BRANCHES
        names = [_BRANCHES + entry.name for entry in directory.iterdir()] if directory.exists() else []
        return self._repository.commits(names)

    def make_whole_deltas(self, urgent: Callable[[], bool]) -> None:
        """Deltas of the current lists from nothing, for clients that have none yet; all files are compressed anew.

        Their index is all that changes for clients. Raises Interrupted when a job comes; those made already stay.
        """
        with step("whole list deltas"):
            for commit in sorted(set(self._branches().values())):
                whole = Delta(None, commit)
                deltas.generate(self._settings, [whole], urgent)
                deltas.index_missing(self._settings, [whole])
            self._repository.sync()
