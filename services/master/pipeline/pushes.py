"""A push to an app's default branch, as Buildbot's change; the change hook and the reconciliation make the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

from buildbot.data import resultspec
from twisted.internet import defer

from .github_api import GitHubError
from .inventory import APP_ID

BRANCH = re.compile(r"[^\x00-\x20~^:?*\[\\\x7f]{1,250}")

AUTHOR_CHARACTERS = 128
"""Buildbot keeps an author as a user, too, in columns of this length (`users_info.attr_data`)."""

MESSAGE_CHARACTERS = 65536
URL_CHARACTERS = 256


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


def bounded(text: str, characters: int) -> str:
    """A text as PostgreSQL takes it: not longer than its column, no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode(errors="replace").decode()[:characters]


def as_change(push: Push) -> dict[str, object]:
    """Buildbot's change; its category is what the scheduler looks for."""
    return {
        "author": bounded(push.author, AUTHOR_CHARACTERS) or "unknown",
        "comments": bounded(push.message, MESSAGE_CHARACTERS) or push.commit,
        "revision": push.commit,
        "branch": push.branch,
        "repository": bounded(push.url, URL_CHARACTERS),
        "project": push.project,
        "revlink": bounded(f"{push.url}/commit/{push.commit}", URL_CHARACTERS),
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


@defer.inlineCallbacks
def recorded_at(master, push: Push):
    """When the master took a push of this commit the last time, in seconds since 1970; 0 if it never did. A Deferred."""
    filters = [
        resultspec.Filter("project", "eq", [push.project]),
        resultspec.Filter("revision", "eq", [push.commit]),
    ]
    changes = yield master.data.get(("changes",), filters=filters, order=["-changeid"], limit=1)
    return changes[0]["when_timestamp"] if changes else 0
