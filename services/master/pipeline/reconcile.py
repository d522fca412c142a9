"""Finds pushes that no webhook told of: GitHub delivers each once, and the master may have been away.

What GitHub says of a commit counts, not the master's database: a master that lost its database builds only what has no
final status, not every app.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from twisted.internet import defer
from twisted.python import log

from .github_api import GitHubApi, GitHubError, RateLimited
from .inventory import COMMIT
from .periodic import Periodic
from .pushes import BRANCH, Push, as_change, is_app, member, newest_revision
from .statuses import PUBLISH_CONTEXT

EVERY_SECONDS = float(os.environ.get("FLATHUB_RECONCILE_SECONDS", "600"))
LOOK_BACK = timedelta(days=7)
"""A master that was away for longer has missed pushes for good; docs/runbooks/github-organisation.md says what to do."""

MAX_REQUESTS = 400
"""Requests of one round: six rounds an hour stay below half of the 5,000 an hour that GitHub gives a token."""

SETTLED_SECONDS = 60
"""GitHub gives the time of a push in whole seconds; one that is younger than this is looked at again."""

PAGE = 100


class Exhausted(Exception):
    """A round has made as many requests as it may."""


def is_decided(answer: object) -> bool:
    """Whether GitHub's combined status of a commit has a final one for the publish.

    One that is pending was given by a master that may be lost; whether this one knows of it, its database says.
    """
    statuses = answer.get("statuses") if isinstance(answer, dict) else None
    if not isinstance(statuses, list):
        raise GitHubError("the answer has no statuses")
    return any(
        isinstance(status, dict) and status.get("context") == PUBLISH_CONTEXT and status.get("state") != "pending"
        for status in statuses
    )


class Round:
    """One look at the organisation, with a bounded number of requests."""

    def __init__(self, github: GitHubApi, organization: str) -> None:
        self._github = github
        self._organization = organization
        self._left = MAX_REQUESTS

    @defer.inlineCallbacks
    def _get(self, path: str):
        """An answer with status 200, or None for a 404 or 409 (an empty repository)."""
        if self._left == 0:
            raise Exhausted
        self._left -= 1
        answer = yield self._github.request("GET", path, wait_for_limits=False)
        if answer.status in (404, 409):
            return None
        if answer.status != 200:
            raise GitHubError(f"GitHub: GET {path}: HTTP {answer.status}: {answer.body[:200]!r}")
        return answer

    @defer.inlineCallbacks
    def recently_pushed(self, since: datetime):
        """Full name, default branch and last push of each app that was pushed to since then, the latest first."""
        found: list[tuple[str, str, datetime]] = []
        path = f"/orgs/{self._organization}/repos?sort=pushed&direction=desc&per_page={PAGE}"
        while path is not None:
            answer = yield self._get(path)
            if answer is None:
                raise GitHubError(f"GitHub knows no organisation {self._organization}, or the token may not see it")
            page = answer.json()
            if not isinstance(page, list):
                raise GitHubError(f"GitHub: GET {path}: expected a list")
            for repository in page:
                if isinstance(repository, dict) and repository.get("pushed_at") is None:
                    continue
                pushed = datetime.fromisoformat(member(repository, "pushed_at"))
                if pushed < since:
                    return found
                project = f"{self._organization}/{member(repository, 'name')}"
                branch = member(repository, "default_branch")
                if is_app(project, self._organization) and BRANCH.fullmatch(branch):
                    found.append((project, branch, pushed))
            path = answer.next_path
        return found

    @defer.inlineCallbacks
    def missed_push(self, master, project: str, branch: str):
        """The head of an app's default branch as a push, if nobody has dealt with it; else None."""
        answer = yield self._get(f"/repos/{project}/branches/{quote(branch, safe='')}")
        if answer is None:
            return None
        head = answer.json()
        commit = member(head, "commit", "sha")
        if not COMMIT.fullmatch(commit):
            raise GitHubError(f"GitHub: {project}: {branch}: {commit!r} is not the full name of a commit")
        if (yield newest_revision(master, project)) == commit:
            return None
        answer = yield self._get(f"/repos/{project}/commits/{commit}/status?per_page={PAGE}")
        if answer is None or is_decided(answer.json()):
            return None
        return Push(
            project=project,
            branch=branch,
            commit=commit,
            author=member(head, "commit", "commit", "author", "name"),
            message=member(head, "commit", "commit", "message"),
            url=member(head, "commit", "html_url").removesuffix(f"/commit/{commit}"),
            when=int(time.time()),
        )


class Reconcile(Periodic):
    """Looks for missed pushes at the master's start and every ten minutes."""

    name = "reconcile"
    every_seconds = EVERY_SECONDS

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._not_before = 0.0
        self._settled: dict[str, datetime] = {}

    def reconfigService(self, api_url, token, organization):
        """Take over a new address, token or organisation."""
        self._github = GitHubApi(api_url, token)
        self._organization = organization

    @defer.inlineCallbacks
    def play_round(self):
        """One round; what goes wrong is logged, and the next round tries again."""
        if time.time() < self._not_before:
            return
        this = Round(self._github, self._organization)
        now = datetime.now(UTC)
        try:
            apps = yield this.recently_pushed(now - LOOK_BACK)
            self._settled = {project: at for project, _, at in apps if self._settled.get(project) == at}
            for project, branch, pushed in apps:
                if project in self._settled:
                    continue
                try:
                    push = yield this.missed_push(self.master, project, branch)
                    if push is not None and self.running:
                        log.msg(f"reconcile: {project}: no webhook told of {push.commit}")
                        yield self.master.data.updates.addChange(**as_change(push), src="git")
                    if pushed < now - timedelta(seconds=SETTLED_SECONDS):
                        self._settled[project] = pushed
                except RateLimited:
                    raise
                except GitHubError as error:
                    log.msg(f"reconcile: {project}: {error}; the next round tries again")
        except RateLimited as error:
            self._not_before = time.time() + error.seconds
            log.msg(f"reconcile: {error}; the first round after that goes on")
        except Exhausted:
            log.msg(f"reconcile: stopped after {MAX_REQUESTS} requests; the next round tries again")
        except GitHubError as error:
            log.msg(f"reconcile: {error}; the next round tries again")
        except Exception as error:  # noqa: BLE001 nothing may end the rounds
            log.err(error, "reconcile: the next round tries again")
