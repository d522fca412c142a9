"""A newer commit of an app takes the place of one that still waits; what has started goes on."""

from __future__ import annotations

from twisted.internet import defer
from twisted.python import log

from .github_api import GitHubApi, GitHubError
from .heads import head_of

superseded_by: dict[int, str] = {}
"""Build request → the commit that took its place, until its commit status is written."""


def project_of(request) -> str:
    """The repository that a request is about."""
    [source] = request.sources.values()
    return source.project


def is_apps_turn(builder, _worker, request) -> bool:
    """Buildbot's `canStartBuild`: one commit of an app at a time, so that the next waits where it can be superseded.

    Not a lock of the builder's: Buildbot renders its name before it knows the project, and so starts builds that then
    wait for the lock, each with a coordinator of its own, in the way of other apps and out of reach of newer commits.
    """
    project = project_of(request)
    return all(project_of(running) != project for build in builder.building for running in build.requests)


def superseding(github: GitHubApi):
    """Buildbot's `collapseRequests`: whether one waiting request makes another one needless.

    GitHub does not deliver webhooks in order, so what was asked for later is no newer commit for that. The head of the
    branch waits on; so does every commit while GitHub does not answer.
    """

    @defer.inlineCallbacks
    def supersedes(master, _builder, later, earlier):
        if later["buildrequestid"] <= earlier["buildrequestid"]:
            return False
        sources = []
        for request in (later, earlier):
            buildset = yield master.data.get(("buildsets", str(request["buildsetid"])))
            [source] = buildset["sourcestamps"]
            sources.append(source)
        taking, waiting = sources
        if taking["project"] != waiting["project"]:
            return False
        if taking["revision"] != waiting["revision"]:
            try:
                # Once: the request that came later is not looked at by anybody before this has an answer.
                head = yield head_of(github, waiting["project"], waiting["branch"], wait_for_limits=False, attempts=1)
            except GitHubError as error:
                log.msg(f"superseding: {waiting['project']}: {waiting['revision']} waits on: {error}")
                return False
            if waiting["revision"] == head:
                return False
        superseded_by[earlier["buildrequestid"]] = taking["revision"]
        return True

    return supersedes
