"""What the change hook accepts and what it refuses."""

import hashlib
import hmac
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pipeline.change_hook import HookError, Push, parse_push, verify_signature

PAYLOAD = {
    "ref": "refs/heads/main",
    "after": "a" * 40,
    "repository": {"full_name": "flathub/org.example.App", "default_branch": "main", "html_url": "http://x/y"},
}


def test_signature():
    good = "sha256=" + hmac.new(b"s", b"body", hashlib.sha256).hexdigest()
    verify_signature(b"body", good, "s")
    for body, signature, secret in [
        (b"bodx", good, "s"),
        (b"body", None, "s"),
        (b"body", good, ""),
        (b"body", "sha1=0", "s"),
    ]:
        with pytest.raises(HookError):
            verify_signature(body, signature, secret)


def test_default_branch_only_and_no_skipping():
    push = parse_push({**PAYLOAD, "head_commit": {"id": "a" * 40, "message": "x [skip ci]"}}, "flathub")
    assert isinstance(push, Push) and push.commit == "a" * 40
    assert isinstance(parse_push({**PAYLOAD, "ref": "refs/heads/other"}, "flathub"), str)
    assert isinstance(parse_push(PAYLOAD, "another"), str)
    with pytest.raises(HookError, match="after"):
        parse_push({**PAYLOAD, "after": "HEAD"}, "flathub")
