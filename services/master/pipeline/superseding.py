"""A newer commit of an app takes the place of one that still waits; what has started goes on."""

from __future__ import annotations

from twisted.internet import defer

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


@defer.inlineCallbacks
def supersedes(master, _builder, newer, older):
    """Buildbot's `collapseRequests`: whether one waiting request makes another one needless."""
    if newer["buildrequestid"] <= older["buildrequestid"]:
        return False
    sources = []
    for request in (newer, older):
        buildset = yield master.data.get(("buildsets", str(request["buildsetid"])))
        [source] = buildset["sourcestamps"]
        sources.append(source)
    if sources[0]["project"] != sources[1]["project"]:
        return False
    superseded_by[older["buildrequestid"]] = sources[0]["revision"]
    return True
