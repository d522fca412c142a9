"""What starts builds: a push starts a coordination, a coordination starts builds and a publish."""

from __future__ import annotations

from buildbot.plugins import schedulers, util

from .builders import COORDINATION, PUBLISH, build_names, build_queue, publish_names
from .inventory import Inventory
from .slots import QueueTrigger


def make_schedulers(inventory: Inventory) -> list[object]:
    """One scheduler for pushes and one to trigger each kind of the other builders.

    No tree-stable timer: the change hook makes one change of a push, and the coordination's lock per app lets a newer
    commit supersede one that waits.
    """
    triggered = {
        **{build_queue(architecture): build_names(inventory, architecture) for architecture in inventory.architectures},
        PUBLISH: publish_names(),
    }
    return [
        schedulers.AnyBranchScheduler(
            name="push",
            change_filter=util.ChangeFilter(category="push", project_re=rf"^{inventory.github.organization}/"),
            builderNames=[COORDINATION],
            treeStableTimer=None,
        ),
        *(QueueTrigger(name=queue, builderNames=names) for queue, names in triggered.items()),
    ]
