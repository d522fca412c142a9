"""What starts builds: a push starts a coordination, a coordination starts builds and a publish."""

from __future__ import annotations

from buildbot.plugins import schedulers, util

from .builders import COORDINATION, build_names, publish_names
from .inventory import Inventory


def make_schedulers(inventory: Inventory) -> list[object]:
    """One scheduler for pushes and one to trigger each of the other builders.

    No tree-stable timer: the change hook makes one change of a push, and the coordination's lock per app lets a newer
    commit supersede one that waits.
    """
    triggered = [
        name
        for names in (
            *(build_names(inventory, architecture) for architecture in inventory.architectures),
            publish_names(),
        )
        for name in names
    ]
    return [
        schedulers.AnyBranchScheduler(
            name="push",
            change_filter=util.ChangeFilter(category="push", project_re=rf"^{inventory.github.organization}/"),
            builderNames=[COORDINATION],
            treeStableTimer=None,
        ),
        *(schedulers.Triggerable(name=name, builderNames=[name]) for name in triggered),
    ]
