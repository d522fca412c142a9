"""What the change hook accepts and what it refuses; requests to a running master are in push_to_publish_test.py."""

import hashlib
import hmac

import pytest

from pipeline.change_hook import HookError, Push, parse_push, verify_signature

PAYLOAD = {
    "ref": "refs/heads/main",
    "after": "a" * 40,
    "repository": {"full_name": "flathub/org.example.App", "default_branch": "main", "html_url": "http://x/y"},
}


def signature(body: bytes, secret: bytes = b"s") -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def with_repository(**fields: object) -> dict[str, object]:
    return {**PAYLOAD, "repository": {**PAYLOAD["repository"], **fields}}


def test_a_signature_that_matches_is_accepted():
    verify_signature(b"body", signature(b"body"), "s")


@pytest.mark.parametrize(
    ("body", "given", "secret", "message"),
    [
        (b"bodx", signature(b"body"), "s", "does not match"),
        (b"body", signature(b"body", b"t"), "s", "does not match"),
        (b"body", "sha256=", "s", "does not match"),
        (b"body", "sha256=\u00e9", "s", "does not match"),
        (b"body", None, "s", "missing"),
        (b"body", "", "s", "missing"),
        (b"body", "sha1=" + hmac.new(b"s", b"body", hashlib.sha1).hexdigest(), "s", "expected sha256"),
        (b"body", signature(b"body", b""), "", "no secret"),
    ],
)
def test_any_other_signature_is_refused(body, given, secret, message):
    with pytest.raises(HookError, match=message):
        verify_signature(body, given, secret)


def test_a_commit_message_can_not_skip_a_build():
    push = parse_push({**PAYLOAD, "head_commit": {"id": "a" * 40, "message": "x [skip ci]"}}, "flathub")
    assert isinstance(push, Push)
    assert (push.commit, push.branch, push.message) == ("a" * 40, "main", "x [skip ci]")


def test_the_default_branch_is_the_one_that_the_payload_names():
    assert isinstance(parse_push({**PAYLOAD, "ref": "refs/heads/other"}, "flathub"), str)
    assert isinstance(parse_push({**PAYLOAD, "ref": "refs/tags/main"}, "flathub"), str)
    assert isinstance(parse_push(with_repository(default_branch="trunk"), "flathub"), str)
    trunk = {**with_repository(default_branch="trunk"), "ref": "refs/heads/trunk"}
    push = parse_push(trunk, "flathub")
    assert isinstance(push, Push) and push.branch == "trunk"


@pytest.mark.parametrize(
    "name", ["another/org.example.App", "flathub/website", "flathub/../x.y", "flathub/org.example.App/x", "flathub"]
)
def test_what_is_no_app_of_the_organisation_starts_nothing(name):
    assert isinstance(parse_push(with_repository(full_name=name), "flathub"), str)


def test_a_deleted_branch_starts_nothing():
    assert isinstance(parse_push({**PAYLOAD, "deleted": True, "after": "0" * 40}, "flathub"), str)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({**PAYLOAD, "after": "HEAD"}, "after"),
        ({**PAYLOAD, "after": ["a" * 40]}, "after"),
        ({**PAYLOAD, "ref": None}, "ref"),
        (with_repository(default_branch=None), "repository.default_branch"),
        (with_repository(html_url=7), "repository.html_url"),
        ({**with_repository(default_branch="a b"), "ref": "refs/heads/a b"}, "ref"),
        ([], "repository.full_name"),
        ({"repository": "x"}, "repository.full_name"),
    ],
)
def test_a_payload_that_makes_no_sense_is_refused_by_field(payload, field):
    with pytest.raises(HookError, match=f"payload: {field}: "):
        parse_push(payload, "flathub")


def test_another_commits_message_is_not_taken_for_this_ones():
    push = parse_push({**PAYLOAD, "head_commit": {"id": "b" * 40, "message": "x", "author": {"name": "y"}}}, "flathub")
    assert isinstance(push, Push) and (push.message, push.author) == ("a" * 40, "unknown")
