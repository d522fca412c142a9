"""GitHub's webhook: a push to an app's default branch becomes one change.

Buildbot's own hook accepts SHA-1 signatures only, makes a change of every commit and lets a commit message skip a
build; this one checks X-Hub-Signature-256 and looks at nothing that a committer can choose but the commit itself.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

from buildbot.www.hooks.base import BaseHookHandler
from twisted.internet import defer
from twisted.python import log

from .history import is_under_way
from .inventory import COMMIT, InventoryError, read_secret
from .pushes import BRANCH, Push, as_change, is_app, newest_revision

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends no payload larger than that."""

REMEMBERED_DELIVERIES = 5000
DELIVERY = re.compile(r"[0-9A-Za-z-]{8,64}")
deliveries = defer.DeferredLock()
"""Two requests with the same delivery, at once, must not both be the first."""


class HookError(ValueError):
    """A request that is refused; Buildbot answers 400 with the message."""


def verify_signature(body: bytes, signature: str | None, secret: str) -> None:
    """Refuse a body that was not signed with the secret."""
    if not secret:
        raise HookError("the change hook has no secret: every request is refused")
    if not signature:
        raise HookError("X-Hub-Signature-256 is missing")
    algorithm, _, digest = signature.partition("=")
    if algorithm != "sha256":
        raise HookError("X-Hub-Signature-256: expected sha256=HEX")
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), digest.encode()):
        raise HookError("X-Hub-Signature-256 does not match the body")


def member(mapping: object, *path: str) -> str:
    """A string somewhere in a payload; HookError names the field if it is not there."""
    value = mapping
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise HookError(f"payload: {'.'.join(path)}: expected a string")
    return value


def parse_push(payload: object, organization: str) -> Push | str:
    """The push that a payload tells of, or the reason why it starts nothing; HookError if it makes no sense."""
    project = member(payload, "repository", "full_name")
    if not is_app(project, organization):
        return f"{project!r} is not an app of {organization}"
    ref = member(payload, "ref")
    if ref != f"refs/heads/{member(payload, 'repository', 'default_branch')}":
        return f"{ref!r} is not the default branch"
    branch = ref.removeprefix("refs/heads/")
    if not BRANCH.fullmatch(branch):
        raise HookError("payload: ref: not the name of a branch")
    assert isinstance(payload, Mapping)
    if payload.get("deleted"):
        return f"{ref!r} was deleted"
    commit = member(payload, "after")
    if not COMMIT.fullmatch(commit):
        raise HookError("payload: after: expected the full name of a commit")
    head = payload.get("head_commit")
    if not isinstance(head, Mapping) or head.get("id") != commit:
        head = {}
    author = head.get("author")
    name = author.get("name") if isinstance(author, Mapping) else None
    return Push(
        project=project,
        branch=branch,
        commit=commit,
        author=str(name or "unknown"),
        message=str(head.get("message") or commit),
        url=member(payload, "repository", "html_url"),
        when=int(time.time()),
    )


class ChangeHook(BaseHookHandler):
    """Handler of /change_hook/github.

    Options: ``organization``, ``secrets`` (the folder; the secret is read for each request, so a new one needs no
    restart).
    """

    def text_header(self, request, name: str) -> str | None:
        """A header's value."""
        value = request.getHeader(name.encode())
        return value.decode("latin-1") if isinstance(value, bytes) else value

    @defer.inlineCallbacks
    def getChanges(self, request):
        """The change that a request tells of, if any."""
        if request.method != b"POST":
            raise HookError("only POST is answered here")
        request.content.seek(0)
        body = request.content.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise HookError(f"the body is larger than {MAX_BODY_BYTES} bytes")
        try:
            secret = read_secret(Path(self.options["secrets"]), "change-hook-secret")
        except InventoryError as error:
            log.msg(f"change hook: {error}")
            secret = ""
        verify_signature(body, self.text_header(request, "X-Hub-Signature-256"), secret)

        event = self.text_header(request, "X-GitHub-Event")
        delivery = self.text_header(request, "X-GitHub-Delivery") or ""
        if event != "push":
            log.msg(f"change hook: event {event!r} starts nothing")
            return [], "git"
        if not DELIVERY.fullmatch(delivery):
            raise HookError("X-GitHub-Delivery is missing or malformed")
        if self.text_header(request, "Content-Type") != "application/json":
            raise HookError("Content-Type: expected application/json; set it in the webhook")
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            raise HookError("the body is not JSON") from None
        push = parse_push(payload, self.options["organization"])
        if isinstance(push, str):
            log.msg(f"change hook: delivery {delivery} starts nothing: {push}")
            return [], "git"
        if not (yield deliveries.run(self.is_new, delivery)):
            log.msg(f"change hook: delivery {delivery} was here before and starts nothing")
            return [], "git"
        under_way = yield is_under_way(self.master, push.project, push.commit)
        if under_way or (yield newest_revision(self.master, push.project)) == push.commit:
            log.msg(f"change hook: delivery {delivery} starts nothing: {push.commit} is known already")
            return [], "git"
        return [as_change(push)], "git"

    @defer.inlineCallbacks
    def is_new(self, delivery: str):
        """Whether a delivery comes for the first time; remembered in the database."""
        state = self.master.db.state
        object_id = yield state.getObjectId("deliveries", "flathub.ChangeHook")
        seen = yield state.getState(object_id, "seen", [])
        if delivery in seen:
            return False
        yield state.setState(object_id, "seen", [*seen, delivery][-REMEMBERED_DELIVERIES:])
        return True
