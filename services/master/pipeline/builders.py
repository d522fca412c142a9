"""The builders: `app` coordinates, `build-ARCH` builds one architecture, `publish` hands over to the publisher.

A worker runs one build of a builder at a time, so a worker that may run n builds of an architecture, and the publisher,
have n builders: `build-x86_64`, `build-x86_64-2`, …
"""

from __future__ import annotations

from buildbot.plugins import util

from .coordination import BuildArchitectures, Identify, Publish, RemoveUploads
from .inventory import Inventory
from .steps import build_steps, publish_steps
from .workers import PUBLISH_SLOTS, coordinator_names

COORDINATION = "app"


def slot_name(name: str, slot: int) -> str:
    """Name of a builder for the n-th build at once; slots count from 1."""
    return name if slot == 1 else f"{name}-{slot}"


def build_names(inventory: Inventory, architecture: str) -> list[str]:
    """Names of the builders of an architecture."""
    return [slot_name(f"build-{architecture}", slot) for slot in range(1, inventory.slots(architecture) + 1)]


def publish_names() -> list[str]:
    """Names of the builders that publish."""
    return [slot_name("publish", slot) for slot in range(1, PUBLISH_SLOTS + 1)]


@util.renderer
def one_at_a_time_per_app(props):
    """A lock for each app: while a commit is under way the next waits, and a still newer one takes its place."""
    return [util.MasterLock(f"app {props.getProperty('project')}").access("exclusive")]


def make_builders(inventory: Inventory) -> list[object]:
    """All builders."""
    architectures = inventory.architectures
    coordination = util.BuilderConfig(
        name=COORDINATION,
        description="From a push to the published app",
        workernames=coordinator_names(),
        factory=util.BuildFactory(
            [
                Identify(architectures=architectures, organization=inventory.github.organization),
                BuildArchitectures(
                    builders={architecture: build_names(inventory, architecture) for architecture in architectures}
                ),
                Publish(builders=publish_names()),
                RemoveUploads(),
            ]
        ),
        collapseRequests=True,
        locks=one_at_a_time_per_app,
        tags=["app"],
    )
    builds = [
        util.BuilderConfig(
            name=name,
            description=f"Builds {architecture}",
            workernames=list(inventory.workers_for(architecture, slot)),
            factory=util.BuildFactory(build_steps(inventory, architecture)),
            tags=["build", architecture],
        )
        for architecture in architectures
        for slot, name in enumerate(build_names(inventory, architecture), start=1)
    ]
    publishing = [
        util.BuilderConfig(
            name=name,
            description="Hands a build to the publisher and waits for its result",
            workernames=[inventory.publisher],
            factory=util.BuildFactory(publish_steps(architectures)),
            tags=["publish"],
        )
        for name in publish_names()
    ]
    return [coordination, *builds, *publishing]
