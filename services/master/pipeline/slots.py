"""Builders that share one queue, so that a worker runs several builds of a kind at once.

A worker runs one build of a builder at a time. A worker that may run n builds of an architecture therefore has n
builders, `build-x86_64`, `build-x86_64-2`, …: its slots. Requests are made for the first only, and each slot takes from
that queue: no request waits in line for one slot while another is idle.
"""

from __future__ import annotations

import re

from buildbot.plugins import schedulers
from buildbot.process.buildrequestdistributor import BasicBuildChooser, BuildRequestDistributor
from twisted.internet import defer

SLOT = re.compile(r"-(?:[2-9]|[1-9][0-9]+)$")
"""End of the name of a slot that is not the first."""


def slot_name(queue: str, slot: int) -> str:
    """Name of the builder for the n-th build at once; slots count from 1."""
    return queue if slot == 1 else f"{queue}-{slot}"


def queue_of(builder: str) -> str:
    """Name of the builder whose requests a builder takes."""
    return SLOT.sub("", builder)


class QueueTrigger(schedulers.Triggerable):
    """Asks for builds in a queue; drives all its slots, as Buildbot wants of each builder."""

    def addBuildsetForSourceStampsWithDefaults(self, *args, **kwargs):
        """Ask the first slot only."""
        return super().addBuildsetForSourceStampsWithDefaults(*args, **{**kwargs, "builderNames": [self.name]})


class SharedQueue(BasicBuildChooser):
    """Chooses among the requests of the first slot."""

    @defer.inlineCallbacks
    def _fetchUnclaimedBrdicts(self):
        own = self.bldr
        try:
            self.bldr = self.master.botmaster.builders.get(queue_of(own.name), own)
            return (yield super()._fetchUnclaimedBrdicts())
        finally:
            self.bldr = own


def with_their_slots(start):
    """`maybeStartBuildsOn` that offers what is new in a queue to all its slots."""

    def maybe_start_builds_on(self, names):
        queues = {queue_of(name) for name in names}
        return start(self, [name for name in self.botmaster.builders if queue_of(name) in queues])

    return maybe_start_builds_on


# Buildbot has no setting for either.
BuildRequestDistributor.BuildChooser = SharedQueue
BuildRequestDistributor.maybeStartBuildsOn = with_their_slots(BuildRequestDistributor.maybeStartBuildsOn)
