"""Refuses a commit that comes late: GitHub does not deliver webhooks in order, and people deliver old ones again."""

from __future__ import annotations

from buildbot.data import resultspec
from buildbot.process.results import SUCCESS
from twisted.internet import defer

from .github_api import DECIDING_ATTEMPTS, GitHubApi, GitHubError
from .github_step import GitHubStep
from .heads import head_of


class RefuseOutdated(GitHubStep):
    """Fails a commit if the head of its branch is another one that was pushed to the master before it.

    It would be published over that newer commit, since the publisher takes the later build for the newer.
    """

    name = "order"

    def __init__(self, github: GitHubApi, **kwargs) -> None:
        self.github = github
        super().__init__(**kwargs)

    @defer.inlineCallbacks
    def run(self):
        """Compare with GitHub's head."""
        project, branch = self.getProperty("project"), self.getProperty("branch")
        try:
            head = yield self.ask(head_of(self.github, project, branch, attempts=DECIDING_ATTEMPTS))
        except GitHubError as error:
            return (yield self.failed(str(error)))
        if head in (None, self.getProperty("commit")):
            return SUCCESS
        own = max((change.changeid for change in self.build.allChanges()), default=0)
        filters = [resultspec.Filter("project", "eq", [project]), resultspec.Filter("revision", "eq", [head])]
        known = yield self.master.data.get(("changes",), filters=filters)
        if any(change["changeid"] < own for change in known):
            return (yield self.failed(f"superseded by {head}"))
        return SUCCESS
