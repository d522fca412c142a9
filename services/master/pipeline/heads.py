"""The head of an app's default branch, as GitHub knows it."""

from __future__ import annotations

from urllib.parse import quote

from twisted.internet import defer

from .github_api import GitHubApi, GitHubError
from .pushes import member


@defer.inlineCallbacks
def head_of(github: GitHubApi, project: str, branch: str, **options):
    """The newest commit of a branch, or of the default branch if that one was renamed or is gone; a Deferred.

    None if the repository has neither; ``options`` are those of ``GitHubApi.request``. GitHubError if GitHub does not
    say.
    """

    @defer.inlineCallbacks
    def get(path: str):
        """An answer, or None if there is nothing at this address (any more: GitHub tells of a new name with a 301)."""
        answer = yield github.request("GET", path, **options)
        if answer.status in (301, 404):
            return None
        if answer.status != 200:
            raise GitHubError(f"GitHub: GET {path}: HTTP {answer.status}")
        return answer.json()

    found = yield get(f"/repos/{project}/branches/{quote(branch, safe='')}")
    if found is None:
        repository = yield get(f"/repos/{project}")
        if repository is None:
            return None
        found = yield get(f"/repos/{project}/branches/{quote(member(repository, 'default_branch'), safe='')}")
    return None if found is None else member(found, "commit", "sha")
