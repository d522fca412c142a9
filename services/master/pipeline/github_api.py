"""GitHub's API, as far as the master asks it for something: bounded in time, size and attempts."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import treq
from buildbot.util import asyncSleep
from twisted.internet import defer, reactor
from twisted.python import log

from .inventory import Inventory, Secrets

ANSWER_SECONDS = 30.0
"""How long one answer may take, its body included."""

ATTEMPTS = 6
DECIDING_ATTEMPTS = 10
"""Of what decides whether a commit is built: with seventeen minutes of pauses, an outage that is shorter fails nothing."""

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 3600.0
"""GitHub's limits last for an hour at most; who is told to wait longer gives up and says so."""

MAX_BYTES = 4 * 1024 * 1024
API_VERSION = "2022-11-28"


class GitHubError(Exception):
    """GitHub did not give what was asked for; the text says what it answered."""


class RateLimited(GitHubError):
    """GitHub takes no more requests for ``seconds``."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True)
class Answer:
    """An answer with a status below 500; ``next_path`` is the page that follows, below the API's address."""

    status: int
    body: bytes
    next_path: str | None = field(default=None)

    def json(self) -> object:
        """The body as JSON; GitHubError if it is something else."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise GitHubError(f"the answer is not JSON: {self.body[:80]!r}") from None


def limit_seconds(status: int, headers: dict[str, str], now: float) -> float | None:
    """How long to ask nothing more, if an answer says that there were too many requests; None if it does not.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api: 403 or 429, with Retry-After, or with
    x-ratelimit-remaining: 0 and the end of the limit in x-ratelimit-reset; without either, at least a minute.
    """
    after = headers.get("retry-after", "")
    exhausted = headers.get("x-ratelimit-remaining") == "0"
    if status != 429 and not (status == 403 and (after or exhausted)):
        return None
    if after.isdecimal():
        return float(after)
    reset = headers.get("x-ratelimit-reset", "")
    return max(1.0, float(reset) - now) if exhausted and reset.isdecimal() else 60.0


def next_page(link: str, base: str) -> str | None:
    """The path of the next page that a Link header names, if it is below ``base``."""
    for part in link.split(","):
        target, _, parameters = part.strip().partition(";")
        if 'rel="next"' in parameters and target.startswith(f"<{base}/") and target.endswith(">"):
            return target[1 + len(base) : -1]
    return None


class GitHubApi:
    """Asks GitHub with the token of the inventory's organisation."""

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self._token = token

    @defer.inlineCallbacks
    def _ask(self, method: str, path: str, accept: str, body: object):
        """One attempt; Answer, or an exception."""
        headers = {"Accept": accept, "User-Agent": "Flathub", "X-GitHub-Api-Version": API_VERSION}
        headers["Authorization"] = f"token {self._token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        response = yield treq.request(
            method, f"{self.base}{path}", headers=headers, data=data, allow_redirects=False, persistent=False
        )
        content = bytearray()

        def collect(block: bytes) -> None:
            content.extend(block)
            if len(content) > MAX_BYTES:
                raise GitHubError(f"the answer is larger than {MAX_BYTES} bytes")

        yield treq.collect(response, collect)
        known = {
            name.decode().lower(): values[-1].decode("latin-1") for name, values in response.headers.getAllRawHeaders()
        }
        seconds = limit_seconds(response.code, known, time.time())
        if seconds is not None:
            raise RateLimited(f"HTTP {response.code}: no more requests for {seconds:.0f} seconds", seconds)
        if response.code >= 500:
            raise GitHubError(f"HTTP {response.code}")
        return Answer(response.code, bytes(content), next_page(known.get("link", ""), self.base))

    @defer.inlineCallbacks
    def request(
        self,
        method: str,
        path: str,
        accept: str = "application/vnd.github+json",
        body: object = None,
        wait_for_limits: bool = True,
        attempts: int = ATTEMPTS,
    ):
        """The answer to a request, a Deferred; asks again while GitHub fails or limits.

        GitHubError when the attempts are used up. With ``wait_for_limits`` False a limit is raised at once, RateLimited.
        """
        wait = FIRST_WAIT_SECONDS
        for attempt in range(1, attempts + 1):
            pause = wait
            try:
                attempted = self._ask(method, path, accept, body)
                attempted.addTimeout(ANSWER_SECONDS, reactor)
                return (yield attempted)
            except RateLimited as error:
                if not wait_for_limits or error.seconds > LONGEST_WAIT_SECONDS or attempt == attempts:
                    raise
                problem, pause = str(error), max(wait, error.seconds)
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 a connection fails in many ways
                problem = str(error) or type(error).__name__
                if attempt == attempts:
                    raise GitHubError(f"GitHub: {method} {path}: {problem}, {attempts} times") from None
            log.msg(f"GitHub: {method} {path}: {problem}; next attempt in {pause:.0f} seconds")
            yield asyncSleep(pause)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        raise AssertionError("unreachable")


def make_github(inventory: Inventory, secrets: Secrets) -> GitHubApi:
    """The API of the inventory's GitHub."""
    return GitHubApi(inventory.github.api_url, secrets.github_token)
