"""Bounds how often a build is run again because its worker or the master was lost."""

from __future__ import annotations

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SUCCESS
from twisted.internet import defer

MAX_ATTEMPTS = 5
"""A build that takes its worker down with it would otherwise do so for ever."""


class BoundAttempts(BuildStep):
    """Fails a build that was begun too often."""

    name = "attempts"
    haltOnFailure = True

    @defer.inlineCallbacks
    def run(self):
        """Count the builds of this request."""
        [request] = self.build.requests
        builds = yield self.master.db.builds.getBuilds(buildrequestid=request.id)
        self.descriptionDone = f"attempt {len(builds)}"
        if len(builds) <= MAX_ATTEMPTS:
            return SUCCESS
        problem = f"given up: its worker was lost {MAX_ATTEMPTS} times"
        self.setProperty("problem", problem, self.name)
        yield self.addCompleteLog("problem", f"{problem}\n")
        return FAILURE
