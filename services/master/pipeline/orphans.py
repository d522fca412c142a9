"""Ends what a master that was killed left half done."""

from __future__ import annotations

from buildbot.data import resultspec
from buildbot.process.results import CANCELLED
from buildbot.util.service import BuildbotService
from twisted.internet import defer, threads
from twisted.python import log

from .uploads import remove_all


class Orphans(BuildbotService):
    """At the master's start, before any worker is there: cancels the requests of coordinations that were cut off.

    Buildbot marks their builds as interrupted and runs the coordinations again, which ask for all their builds anew;
    the old requests would be built as well, for nobody. What had been uploaded for them is removed.
    """

    name = "orphans"
    # Buildbot configures workers after all services, so none of these requests can start before this has run.

    @defer.inlineCallbacks
    def reconfigService(self):
        """Called once: nothing can be configured."""
        cancelled = 0
        requests = yield self.master.data.get(
            ("buildrequests",), filters=[resultspec.Filter("complete", "eq", [False])]
        )
        for request in requests:
            buildset = yield self.master.data.get(("buildsets", str(request["buildsetid"])))
            if buildset["parent_buildid"] is None:
                continue
            parent = yield self.master.data.get(("builds", buildset["parent_buildid"]))
            if parent is not None and not parent["complete"]:
                continue
            number = request["buildrequestid"]
            if (yield self.master.data.updates.claimBuildRequests([number])):
                yield self.master.data.updates.completeBuildRequests([number], CANCELLED)
                cancelled += 1
        yield threads.deferToThread(remove_all)
        log.msg(f"orphans: cancelled {cancelled} requests of coordinations that were cut off")
