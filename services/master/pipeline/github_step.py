"""What a step of the coordination that asks GitHub does besides."""

from __future__ import annotations

from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE
from twisted.internet import defer

from .github_api import GitHubError


class GitHubStep(BuildStep):
    """Gives up asking when the build is stopped; names a problem on the commit."""

    haltOnFailure = True

    def __init__(self, **kwargs) -> None:
        self._asking: defer.Deferred | None = None
        super().__init__(**kwargs)

    @defer.inlineCallbacks
    def ask(self, asking: defer.Deferred):
        """What GitHub answers; GitHubError if the build is stopped meanwhile."""
        self._asking = asking
        try:
            return (yield asking)
        except defer.CancelledError:
            raise GitHubError("stopped") from None
        finally:
            self._asking = None

    def interrupt(self, reason):
        """Called when the build is stopped."""
        if self._asking is not None:
            self._asking.cancel()
        return super().interrupt(reason)

    @defer.inlineCallbacks
    def failed(self, problem: str):
        """Fail with a reason that the commit's status names."""
        self.setProperty("problem", problem, self.name)
        yield self.addCompleteLog("problem", f"{problem}\n")
        return FAILURE
