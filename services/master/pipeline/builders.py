"""The builders: `app` coordinates, `build-ARCH` builds one architecture, `publish` hands over to the publisher.

The last two have as many slots as builds of them may run at once on one worker (`slots.py`).
"""

from __future__ import annotations

from buildbot.plugins import util

from .coordination import (
    AwaitEarlierPublish,
    BuildArchitectures,
    ChooseArchitectures,
    Identify,
    Publish,
    RemoveUploads,
    is_unpublished,
)
from .github_api import GitHubApi
from .inventory import Inventory
from .order import RefuseOutdated
from .slots import slot_name
from .steps import build_steps, publish_steps
from .superseding import is_apps_turn, superseding
from .workers import PUBLISH_SLOTS, coordinator_names

COORDINATION = "app"
PUBLISH = "publish"


def build_queue(architecture: str) -> str:
    """Name of the builder that takes the requests of an architecture."""
    return f"build-{architecture}"


def build_names(inventory: Inventory, architecture: str) -> list[str]:
    """Names of the builders of an architecture."""
    return [slot_name(build_queue(architecture), slot) for slot in range(1, inventory.slots(architecture) + 1)]


def publish_names() -> list[str]:
    """Names of the builders that publish."""
    return [slot_name(PUBLISH, slot) for slot in range(1, PUBLISH_SLOTS + 1)]


def make_builders(inventory: Inventory, github: GitHubApi) -> list[object]:
    """All builders."""
    architectures = inventory.architectures
    coordination = util.BuilderConfig(
        name=COORDINATION,
        description="From a push to the published app",
        workernames=coordinator_names(),
        factory=util.BuildFactory(
            [
                Identify(organization=inventory.github.organization),
                AwaitEarlierPublish(builder=PUBLISH),
                RefuseOutdated(github=github, doStepIf=is_unpublished),
                ChooseArchitectures(architectures=architectures, github=github, doStepIf=is_unpublished),
                BuildArchitectures(
                    builders={architecture: build_queue(architecture) for architecture in architectures},
                    doStepIf=is_unpublished,
                ),
                Publish(builder=PUBLISH, doStepIf=is_unpublished),
                RemoveUploads(),
            ]
        ),
        collapseRequests=superseding(github),
        canStartBuild=is_apps_turn,
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
