"""Which of two waiting requests goes; a running master's are in push_to_publish_test.py."""

import json
from types import SimpleNamespace

import pytest
from twisted.internet import defer

from pipeline.github_api import Answer, GitHubError, RateLimited
from pipeline.heads import head_of
from pipeline.superseding import superseded_by, superseding

APP, OTHER = "flathub/org.example.App", "flathub/org.example.Other"
A, B, C = "a" * 40, "b" * 40, "c" * 40


class GitHub:
    """Answers from a table; an exception in it is raised."""

    def __init__(self, answers):
        self.answers = answers

    def request(self, _method, path, **_options):
        """The answer to a path; 404 for one that is not in the table."""
        answer = self.answers.get(path, 404)
        if isinstance(answer, Exception):
            return defer.fail(answer)
        if isinstance(answer, int):
            return defer.succeed(Answer(answer, b"{}"))
        return defer.succeed(Answer(200, json.dumps(answer).encode()))


def branch(commit):
    """What GitHub says of a branch."""
    return {"commit": {"sha": commit}}


def fired(deferred):
    """The result of a Deferred that has fired; an exception is raised."""
    results = []
    deferred.addBoth(results.append)
    [result] = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


def is_superseded(waiting, later, answer, project=APP):
    """Whether a request that waits gives way to a later one."""
    sources = {"1": (APP, waiting), "2": (project, later)}

    def get(path):
        project, revision = sources[path[1]]
        return defer.succeed({"sourcestamps": [{"project": project, "revision": revision, "branch": "main"}]})

    master = SimpleNamespace(data=SimpleNamespace(get=get))
    requests = [{"buildrequestid": number, "buildsetid": number} for number in (1, 2)]
    supersedes = superseding(GitHub({f"/repos/{APP}/branches/main": answer}))
    assert fired(supersedes(master, None, requests[0], requests[1])) is False
    return fired(supersedes(master, None, requests[1], requests[0]))


@pytest.mark.parametrize(
    ("waiting", "later", "answer", "expected"),
    [
        (A, B, branch(B), True),
        (B, A, branch(B), False),
        (A, B, branch(C), True),
        (A, A, branch(A), True),
        (A, B, 500, False),
        (A, B, GitHubError("away"), False),
        (A, B, RateLimited("too many", 60.0), False),
    ],
    ids=["the head comes", "the head waits", "neither", "the same", "an error", "no answer", "a limit"],
)
def test_the_head_of_the_branch_waits_on(waiting, later, answer, expected):
    assert is_superseded(waiting, later, answer) is expected
    assert superseded_by.pop(1, None) == (later if expected else None)


def test_another_app_is_none_of_its_business():
    assert is_superseded(A, B, branch(B), project=OTHER) is False


@pytest.mark.parametrize("gone", [301, 404])
def test_a_branch_that_is_gone_gives_way_to_the_default_branch(gone):
    answers = {
        f"/repos/{APP}/branches/main": gone,
        f"/repos/{APP}": {"default_branch": "a/b"},
        f"/repos/{APP}/branches/a%2Fb": branch(B),
    }
    assert fired(head_of(GitHub(answers), APP, "main")) == B


def test_a_repository_that_is_gone_has_no_head():
    assert fired(head_of(GitHub({}), APP, "main")) is None
