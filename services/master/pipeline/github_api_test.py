"""GitHub's limits and pages; its answers to a running master are in the tests of test/."""

import pytest

from pipeline.github_api import limit_seconds, next_page
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
