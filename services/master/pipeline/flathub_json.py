"""flathub.json in an app's repository: which architectures the app is built for."""

from __future__ import annotations

import json

from twisted.internet import defer

from .github_api import DECIDING_ATTEMPTS, GitHubApi, GitHubError
from .inventory import ARCHITECTURES

MAX_BYTES = 64 * 1024
KEYS = ("only-arches", "skip-arches")


class FlathubJsonError(ValueError):
    """A flathub.json that can't be followed; the text names the field."""


def choose_architectures(content: bytes | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    """The architectures of a commit, of those that some worker builds; ``content`` None: there is no such file.

    Keys other than only-arches and skip-arches are Flathub's own and are not looked at.
    """
    if content is None:
        return offered
    if len(content) > MAX_BYTES:
        raise FlathubJsonError(f"flathub.json: larger than {MAX_BYTES} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise FlathubJsonError("flathub.json: not JSON") from None
    if not isinstance(document, dict):
        raise FlathubJsonError("flathub.json: expected an object")
    given = [key for key in KEYS if key in document]
    if not given:
        return offered
    if len(given) == len(KEYS):
        raise FlathubJsonError("flathub.json: only-arches and skip-arches: expected one of them, not both")
    [key] = given
    names = document[key]
    if not isinstance(names, list):
        raise FlathubJsonError(f"flathub.json: {key}: expected a list of architectures")
    for name in names:
        if name not in ARCHITECTURES:
            raise FlathubJsonError(
                f"flathub.json: {key}: {json.dumps(name)[:30]}: expected one of {', '.join(ARCHITECTURES)}"
            )
    chosen = tuple(name for name in offered if (name in names) == (key == "only-arches"))
    if not chosen:
        raise FlathubJsonError(f"flathub.json: {key}: leaves none of {', '.join(offered)}")
    return chosen


@defer.inlineCallbacks
def read_flathub_json(github: GitHubApi, project: str, commit: str):
    """The file at a commit, or None if the commit has none; GitHubError if GitHub does not say."""
    path = f"/repos/{project}/contents/flathub.json?ref={commit}"
    answer = yield github.request("GET", path, accept="application/vnd.github.raw+json", attempts=DECIDING_ATTEMPTS)
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise GitHubError(f"GitHub: GET {path}: HTTP {answer.status}")
    return answer.body
