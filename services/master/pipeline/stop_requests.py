"""Takes requests to stop builds from a folder of this machine: the web service lets nobody do so."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import defer
from twisted.python import log

from .periodic import Periodic

EVERY_SECONDS = 1.0


class StopRequests(Periodic):
    """A file in the folder is named by the number of the build request that is to be stopped (`stop-build`)."""

    name = "stop requests"
    every_seconds = EVERY_SECONDS

    def reconfigService(self, folder):
        """Take over another folder."""
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def play_round(self) -> None:
        """Stop what is asked for; Buildbot cancels a request that waits and stops a build that runs."""
        for path in list(self._folder.iterdir()):
            path.unlink()
            if path.name.isdecimal():
                log.msg(f"stopping build request {path.name}, as an operator asks")
                stopped = self.master.data.control(
                    "cancel", {"reason": "stopped by an operator"}, ("buildrequests", path.name)
                )
                defer.maybeDeferred(lambda waiting=stopped: waiting).addErrback(log.err, f"stopping {path.name}")
