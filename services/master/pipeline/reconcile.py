"""Finds pushes that no webhook told of: GitHub delivers each once, and the master may have been away.

What GitHub says of a commit counts, not the master's database: a master that lost its database builds only what has no
final status, not every app. A commit without a final status is looked at until it has one: what came of it is told
again if GitHub did not hear of it, and what never came to be built, since the power or GitHub failed, is begun anew.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from twisted.internet import defer
from twisted.python import log

from .github_api import GitHubApi, GitHubError, RateLimited
from .history import coordinations_of, is_under_way
from .inventory import COMMIT
from .periodic import Periodic
from .pushes import BRANCH, Push, as_change, is_app, member, recorded_at
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
    def head(self, project: str, branch: str):
        """The head of an app's default branch as a push, or None if there is none."""
        answer = yield self._get(f"/repos/{project}/branches/{quote(branch, safe='')}")
        if answer is None:
            return None
        head = answer.json()
        commit = member(head, "commit", "sha")
        if not COMMIT.fullmatch(commit):
            raise GitHubError(f"GitHub: {project}: {branch}: {commit!r} is not the full name of a commit")
        return Push(
            project=project,
            branch=branch,
            commit=commit,
            author=member(head, "commit", "commit", "author", "name"),
            message=member(head, "commit", "commit", "message"),
            url=member(head, "commit", "html_url").removesuffix(f"/commit/{commit}"),
            when=int(time.time()),
        )

    @defer.inlineCallbacks
    def is_decided(self, push: Push):
        """Whether GitHub has the final status of a commit."""
        answer = yield self._get(f"/repos/{push.project}/commits/{push.commit}/status?per_page={PAGE}")
        return answer is None or is_decided(answer.json())


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
                    settled = yield self._look(this, project, branch)
                    if settled and pushed < now - timedelta(seconds=SETTLED_SECONDS):
                        self._settled[project] = pushed
                except (RateLimited, Exhausted):
                    raise
                except GitHubError as error:
                    log.msg(f"reconcile: {project}: {error}; the next round tries again")
                except Exception as error:  # noqa: BLE001 no app stands in the way of another
                    log.err(error, f"reconcile: {project}: the next round tries again")
        except RateLimited as error:
            self._not_before = time.time() + error.seconds
            log.msg(f"reconcile: {error}; the first round after that goes on")
        except Exhausted:
            log.msg(f"reconcile: stopped after {MAX_REQUESTS} requests; the next round tries again")
        except GitHubError as error:
            log.msg(f"reconcile: {error}; the next round tries again")
        except Exception as error:  # noqa: BLE001 nothing may end the rounds
            log.err(error, "reconcile: the next round tries again")

    @defer.inlineCallbacks
    def _look(self, this: Round, project: str, branch: str):
        """See to the head of an app's default branch; whether nothing is left to do about it."""
        push = yield this.head(project, branch)
        if push is None:
            return True
        if (yield is_under_way(self.master, project, push.commit)):
            return False
        if (yield this.is_decided(push)):
            return True
        known = yield coordinations_of(self.master, project, push.commit)
        if not self.running or not all(coordination.complete for coordination in known):
            return False
        if not known and (yield recorded_at(self.master, push)) > time.time() - SETTLED_SECONDS:
            # Taken just now: the scheduler is at it.
            return False
        if known and known[-1].has_triggered:
            log.msg(f"reconcile: {project}: the result of {push.commit} did not reach GitHub")
            # Told once more, to those who write the statuses.
            builds = self.master.data.getResourceType("build")
            yield builds.generateEvent(known[-1].last_build, "finished")
        else:
            reason = "never came to be built" if known else "was told of by no webhook"
            log.msg(f"reconcile: {project}: {push.commit} {reason}")
            yield self.master.data.updates.addChange(**as_change(push), src="git")
        return False
