"""Removes from repo's spool what builds left there that could not clean up."""

from __future__ import annotations

from pathlib import PurePosixPath

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import SUCCESS
from buildbot.steps.worker import CompositeStepMixin
from twisted.internet import defer


class RemoveLeftovers(CompositeStepMixin, BuildStep):
    """Removes the folders of builds that no longer run: the worker was lost, or the master killed."""

    name = "remove leftovers"
    flunkOnFailure = False
    warnOnFailure = True
    logEnviron = False

    def __init__(self, folder: str, **kwargs) -> None:
        self.folder = folder
        super().__init__(**kwargs)

    def running(self) -> set[str]:
        """The builds that are under way: a folder belongs to a coordination."""
        return {
            build.getProperty("build_id")
            for builder in self.master.botmaster.builders.values()
            for build in builder.building
        }

    @defer.inlineCallbacks
    def run(self):
        """List first, then ask what runs: whoever made a folder that was seen is running or has ended."""
        self.stdio_log = yield self.addLog("stdio")
        found = yield self.runGlob(f"{self.folder}/*")
        running = self.running()
        for path in found:
            name = PurePosixPath(path).name
            if name.isdecimal() and name not in running:
                yield self.stdio_log.addHeader(f"removing {path}: build {name} does not run\n")
                yield self.runRmdir(path, abandonOnFailure=False)
        return SUCCESS
