"""GitHub's limits and pages; its answers to a running master are in the tests of test/."""

import pytest
from buildbot.process.buildstep import create_step_from_step_or_factory
from twisted.internet import defer
from twisted.internet.task import Clock

from pipeline import github_api
from pipeline.flathub_json import read_flathub_json
from pipeline.github_api import GitHubApi, limit_seconds, next_page
from pipeline.order import RefuseOutdated
from pipeline.reconcile import GitHubError, is_decided

BASE = "http://github.test/api/v3"


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (200, {}, None),
        (404, {"retry-after": "5"}, None),
        (403, {}, None),
        (403, {"x-ratelimit-remaining": "17", "x-ratelimit-reset": "1030"}, None),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1030"}, 30.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "900"}, 1.0),
        (403, {"retry-after": "7"}, 7.0),
        (429, {"retry-after": "7", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1030"}, 7.0),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1030"}, 30.0),
        (429, {}, 60.0),
        (429, {"retry-after": "soon"}, 60.0),
    ],
)
def test_how_long_to_ask_nothing_more(status, headers, seconds):
    assert limit_seconds(status, headers, now=1000.0) == seconds


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("", None),
        (f'<{BASE}/orgs/flathub/repos?page=1>; rel="prev", <{BASE}/x?page=3>; rel="next"', "/x?page=3"),
        (f'<{BASE}/x?page=9>; rel="last"', None),
        ('<http://elsewhere.test/x?page=3>; rel="next"', None),
        (f'<{BASE}.elsewhere.test/x>; rel="next"', None),
    ],
)
def test_the_next_page_is_one_of_githubs(link, path):
    assert next_page(link, BASE) == path


@pytest.mark.parametrize(
    ("states", "decided"),
    [
        ({}, False),
        ({"flathub/publish": "pending"}, False),
        ({"flathub/build-i386": "success"}, False),
        ({"flathub/publish": "error"}, True),
        ({"flathub/build-i386": "pending", "flathub/publish": "success"}, True),
    ],
)
def test_whether_a_commit_was_dealt_with(states, decided):
    answer = {"statuses": [{"context": context, "state": state} for context, state in states.items()]}
    assert is_decided(answer) == decided


def test_an_answer_without_statuses_is_no_reason_to_build():
    with pytest.raises(GitHubError):
        is_decided({"message": "something else"})


class Order(RefuseOutdated):
    """The step, without a build."""

    def getProperty(self, _name):
        """Anything."""
        return "x"

    def failed(self, problem):
        """Raise it."""
        raise GitHubError(problem)


@pytest.mark.parametrize(
    ("ask", "minutes"),
    [
        (lambda github: create_step_from_step_or_factory(Order(github=github)).run(), 15),
        (lambda github: read_flathub_json(github, "x/y", "a" * 40), 15),
        (lambda github: github.request("GET", "/x"), 1),
    ],
    ids=["order", "flathub.json", "any other"],
)
def test_how_long_an_outage_may_take(monkeypatch, ask, minutes):
    pauses = []
    monkeypatch.setattr(github_api, "asyncSleep", lambda seconds: defer.succeed(pauses.append(seconds)))
    monkeypatch.setattr(GitHubApi, "_ask", lambda *_arguments: defer.fail(GitHubError("HTTP 502")))
    failed = []
    ask(GitHubApi(BASE, "token")).addErrback(failed.append)
    assert failed[0].check(GitHubError)
    assert sum(pauses) >= minutes * 60


@pytest.mark.parametrize(
    "answer", [defer.Deferred, lambda: defer.fail(GitHubError("HTTP 502"))], ids=["none", "an error"]
)
def test_who_is_stopped_asks_no_more(monkeypatch, answer):
    asked = []
    monkeypatch.setattr(github_api, "reactor", Clock())
    monkeypatch.setattr(github_api, "asyncSleep", lambda _seconds: defer.Deferred())
    monkeypatch.setattr(GitHubApi, "_ask", lambda *_arguments: asked.append(1) or answer())
    step = create_step_from_step_or_factory(Order(github=None))
    outcome = []
    step.ask(GitHubApi(BASE, "token").request("GET", "/x")).addBoth(outcome.append)
    step.interrupt("stopped")
    assert outcome[0].check(GitHubError)
    assert len(asked) == 1
