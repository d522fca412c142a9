"""Takes requests to stop builds from a folder of this machine: the web service lets nobody do so."""

from __future__ import annotations

from pathlib import Path

from buildbot.util.service import BuildbotService
from twisted.internet import defer, task
from twisted.python import log

EVERY_SECONDS = 1.0


class StopRequests(BuildbotService):
    """A file in the folder is named by the number of the build request that is to be stopped (`stop-build`)."""

    name = "stop requests"

    def reconfigService(self, folder):
        """Take over another folder."""
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, exist_ok=True)

    @defer.inlineCallbacks
    def startService(self):
        """Begin to look."""
        yield super().startService()
        self._calls = task.LoopingCall(self.look)
        self._calls.start(EVERY_SECONDS).addErrback(log.err, "stop requests")

    @defer.inlineCallbacks
    def stopService(self):
        """Look no more."""
        if self._calls.running:
            self._calls.stop()
        yield super().stopService()

    def look(self) -> None:
        """Stop what is asked for; Buildbot cancels a request that waits and stops a build that runs."""
        for path in list(self._folder.iterdir()):
            path.unlink()
            if path.name.isdecimal():
                log.msg(f"stopping build request {path.name}, as an operator asks")
                stopped = self.master.data.control(
                    "cancel", {"reason": "stopped by an operator"}, ("buildrequests", path.name)
                )
                defer.maybeDeferred(lambda waiting=stopped: waiting).addErrback(log.err, f"stopping {path.name}")
