"""What is kept, and for how long."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from . import deltas, objects
from .command import Interrupted, run
from .repository import Repository
from .served import Served
from .settings import Settings
from .step import step

# The commits before the current one that are kept. One at least: a directory that is still served may name it.
_DEPTH = 8
_DEPTH_OF_LISTS = 2
_DEPTH_OF_COMPANIONS = 1


def depth(ref: str) -> int:
    """How many commits before the current one of a ref are kept: applications can be downgraded to them."""
    if ref.startswith(("appstream/", "appstream2/")):
        return _DEPTH_OF_LISTS
    if ref.startswith("runtime/") and ref.split("/")[1].rpartition(".")[2] in ("Debug", "Sources"):
        return _DEPTH_OF_COMPANIONS
    return _DEPTH


def kept_depth(repository: Path, ref: str, head: str, now: float, grace_seconds: int) -> int:
    """The depth for one ref: its kind's, or more while a commit before was the current one within the grace."""
    wanted, count, commit = depth(ref), 0, head
    while True:
        try:
            found = objects.commit(repository, commit)
        except objects.Unreadable:
            return max(count, wanted)
        # Its parent was the current one until it came.
        if found.parent is None or (count >= wanted and found.made + grace_seconds < now):
            return max(count, wanted)
        count, commit = count + 1, found.parent


class Retention:
    """Removes what nobody needs any more."""

    def __init__(self, settings: Settings, repository: Repository, served: Served) -> None:
        self._settings, self._repository, self._served = settings, repository, served

    def drop_deltas(self) -> None:
        """Remove deltas to commits that neither a ref nor a kept served directory names."""
        with step("drop deltas"):
            needed = self._served.named() | set(self._repository.refs().values())
            if count := deltas.drop(self._settings.repository, needed):
                print(f"removed {count} static deltas that nothing names", flush=True)

    def prune(self, urgent: Callable[[], bool]) -> None:
        """Remove old commits, and objects that only they have. Raises Interrupted when a job comes."""
        settings, now = self._settings, time.time()
        with step("prune"):
            depths: dict[str, int] = {}
            for ref, head in self._repository.refs().items():
                if urgent():
                    raise Interrupted("prune")
                depths[ref] = kept_depth(settings.repository, ref, head, now, settings.commit_grace_seconds)
            others = [
                f"--retain-branch-depth={ref}={count}" for ref, count in sorted(depths.items()) if count != _DEPTH
            ]
            run(
                ["ostree", f"--repo={settings.repository}", "prune", "--refs-only", f"--depth={_DEPTH}", *others],
                settings.prune_timeout_seconds,
                urgent=urgent,
            )

    def remove_leftovers(self) -> None:
        """Remove results that nobody can be waiting for any more, and what can be removed of jobs put out of the way."""
        settings = self._settings
        with step("leftovers"):
            remove_old(settings.results, settings.result_age_seconds)
            for aside in (*settings.work.glob(".left-*"), *settings.queue.glob(".refused-*")):
                shutil.rmtree(aside, ignore_errors=True)


def remove_old(directory: Path, age_seconds: int) -> list[str]:
    """Remove the files of a directory that were not changed for so long; returns their names."""
    removed = []
    for entry in os.scandir(directory):
        if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime + age_seconds < time.time():
            os.unlink(entry.path)
            removed.append(entry.name)
    return removed
