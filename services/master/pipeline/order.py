"""Refuses a commit that comes late: GitHub does not deliver webhooks in order, and people deliver old ones again."""

from __future__ import annotations

from urllib.parse import quote

from buildbot.data import resultspec
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SUCCESS
from twisted.internet import defer

from .github_api import GitHubApi, GitHubError
from .pushes import member


class RefuseOutdated(BuildStep):
    """Fails a commit if the head of its branch is another one that was pushed to the master before it.

    It would be published over that newer commit, since the publisher takes the later build for the newer.
    """

    name = "order"
    haltOnFailure = True

    def __init__(self, github: GitHubApi, **kwargs) -> None:
        self.github = github
        super().__init__(**kwargs)

    @defer.inlineCallbacks
    def run(self):
        """Compare with GitHub's head."""
        project, branch = self.getProperty("project"), self.getProperty("branch")
        path = f"/repos/{project}/branches/{quote(branch, safe='')}"
        try:
            answer = yield self.github.request("GET", path)
            if answer.status == 404:
                return SUCCESS
            if answer.status != 200:
                raise GitHubError(f"GitHub: GET {path}: HTTP {answer.status}")
            head = member(answer.json(), "commit", "sha")
        except GitHubError as error:
            return (yield self.failed(str(error)))
        if head == self.getProperty("commit"):
            return SUCCESS
        own = max((change.changeid for change in self.build.allChanges()), default=0)
        filters = [resultspec.Filter("project", "eq", [project]), resultspec.Filter("revision", "eq", [head])]
        known = yield self.master.data.get(("changes",), filters=filters)
        if any(change["changeid"] < own for change in known):
            return (yield self.failed(f"superseded by {head}"))
        return SUCCESS

    @defer.inlineCallbacks
    def failed(self, problem: str):
        """Fail with a reason that the commit's status names."""
        self.setProperty("problem", problem, self.name)
        yield self.addCompleteLog("problem", f"{problem}\n")
        return FAILURE
