"""What the master's database knows of a commit."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, select
from twisted.internet import defer


@dataclass(frozen=True)
class Coordination:
    """A request to build a commit."""

    request: int
    complete: bool
    last_build: int | None
    """The number of its last attempt, None if there was none: it waits, or was superseded or cancelled."""
    has_triggered: bool
    """Whether an attempt got as far as asking for builds."""


def coordinations_of(master, project: str, commit: str):
    """All requests to build a commit, the oldest first; a Deferred."""
    model = master.db.model
    requests, builds, sources = model.buildrequests.c, model.builds.c, model.sourcestamps.c
    of_buildset = model.buildset_sourcestamps.c
    last_build = select(builds.id).where(builds.buildrequestid == requests.id).order_by(builds.id.desc()).limit(1)
    triggered = exists().where(builds.buildrequestid == requests.id, model.buildsets.c.parent_buildid == builds.id)
    query = (
        select(
            requests.id,
            requests.complete,
            last_build.scalar_subquery().label("last_build"),
            triggered.label("triggered"),
        )
        .where(
            # Those that no other build waits for.
            requests.waited_for == 0,
            requests.buildsetid == of_buildset.buildsetid,
            of_buildset.sourcestampid == sources.id,
            sources.project == project,
            sources.revision == commit,
        )
        .order_by(requests.id)
    )

    def read(connection) -> list[Coordination]:
        return [
            Coordination(row.id, bool(row.complete), row.last_build, row.triggered) for row in connection.execute(query)
        ]

    return master.db.pool.do(read)


@defer.inlineCallbacks
def is_under_way(master, project: str, commit: str):
    """Whether a commit waits or is being built; a Deferred."""
    known = yield coordinations_of(master, project, commit)
    return not all(coordination.complete for coordination in known)


def publishes_of(master, request: int, builder: str):
    """The publishes that the attempts of a coordination have begun: number of the attempt → results; a Deferred."""
    model = master.db.model
    attempts, publishes = model.builds.alias(), model.builds.alias()
    buildsets, requests, builders = model.buildsets.c, model.buildrequests.c, model.builders.c
    query = select(attempts.c.id, requests.results).where(
        attempts.c.buildrequestid == request,
        buildsets.parent_buildid == attempts.c.id,
        requests.buildsetid == buildsets.id,
        requests.builderid == builders.id,
        builders.name == builder,
        exists().where(publishes.c.buildrequestid == requests.id),
    )

    def read(connection) -> dict[int, int]:
        return {row.id: row.results for row in connection.execute(query)}

    return master.db.pool.do(read)
