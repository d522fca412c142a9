"""The workers: builders, the publisher on repo, and local ones that only coordinate."""

from __future__ import annotations

from buildbot.plugins import worker

from .inventory import Inventory, Secrets

COORDINATORS = 48
"""How many apps may be between their push and their publish at once; a local worker runs one build of a builder.

More than are ever built at once: while the signing key is locked, builds go on and their coordinations wait."""

PUBLISH_SLOTS = 8
"""How many builds may wait in the publisher's spool at once; the publisher folds what waits into one run."""


def coordinator_names() -> list[str]:
    """Names of the local workers."""
    return [f"coordinator-{number}" for number in range(1, COORDINATORS + 1)]


def make_workers(inventory: Inventory, secrets: Secrets) -> list[object]:
    """All workers; one that is lost is noticed within minutes (`liveness.py`)."""
    limits = {worker.name: worker.max_builds for worker in inventory.workers}
    limits[inventory.publisher] = PUBLISH_SLOTS
    remote = [
        worker.Worker(name, secrets.worker_passwords[name], max_builds=max_builds)
        for name, max_builds in limits.items()
    ]
    return [*remote, *(worker.LocalWorker(name, max_builds=1) for name in coordinator_names())]
