"""A push to an app's default branch, as Buildbot's change; the change hook and the reconciliation make the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from buildbot.data import resultspec
from twisted.internet import defer

from .github_api import GitHubError
from .inventory import APP_ID

BRANCH = re.compile(r"[^\x00-\x20~^:?*\[\\\x7f]{1,250}")


@dataclass(frozen=True)
class Push:
    """A push to the default branch of an app's repository."""

    project: str
    branch: str
    commit: str
    author: str
    message: str
    url: str
    when: int


def is_app(project: str, organization: str) -> bool:
    """Whether a repository's full name is that of an app of the organisation."""
    owner, _, name = project.partition("/")
    return owner == organization and APP_ID.fullmatch(name) is not None


def as_change(push: Push) -> dict[str, object]:
    """Buildbot's change; its category is what the scheduler looks for."""
    return {
        "author": push.author,
        "comments": push.message,
        "revision": push.commit,
        "branch": push.branch,
        "repository": push.url,
        "project": push.project,
        "revlink": f"{push.url}/commit/{push.commit}",
        "category": "push",
        "when_timestamp": push.when,
        "files": [],
    }


def member(answer: object, *path: str) -> str:
    """A string somewhere in an answer of GitHub's; GitHubError names the field if it is not there."""
    value = answer
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise GitHubError(f"GitHub's answer has no {'.'.join(path)}")
    return value


@defer.inlineCallbacks
def newest_revision(master, project: str):
    """The commit of the last push of an app that the master knows, or None; a Deferred."""
    changes = yield master.data.get(
        ("changes",), filters=[resultspec.Filter("project", "eq", [project])], order=["-changeid"], limit=1
    )
    return changes[0]["revision"] if changes else None
