"""What the master does again and again."""

from __future__ import annotations

from buildbot.util.service import BuildbotService
from twisted.internet import defer, task
from twisted.python import log


class Periodic(BuildbotService):
    """A service with rounds: the first when it starts, then one every ``every_seconds``, never two at once.

    What a round lets out is logged and ends the rounds: a round that may fail catches it.
    """

    every_seconds: float

    def reconfigService(self):
        """Nothing can be configured."""

    def play_round(self):
        """One round; may give a Deferred."""
        raise NotImplementedError

    @defer.inlineCallbacks
    def startService(self):
        """Begin."""
        yield super().startService()
        self._calls = task.LoopingCall(self.play_round)
        self._calls.start(self.every_seconds).addErrback(log.err, self.name)

    @defer.inlineCallbacks
    def stopService(self):
        """End."""
        if self._calls.running:
            self._calls.stop()
        yield super().stopService()
