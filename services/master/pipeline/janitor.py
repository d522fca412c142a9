"""Bounds what the database keeps of builds."""

from __future__ import annotations

import datetime

from buildbot.util import datetime2epoch
from twisted.internet import defer
from twisted.python import log

from .periodic import Periodic

LOG_WEEKS = 4
"""Logs older than that are removed; builds and their results stay in the list, as they are small."""

EVERY_SECONDS = 24 * 3600.0


class Janitor(Periodic):
    """Removes old logs, at the master's start and once a day.

    Not Buildbot's JanitorConfigurator: that adds a builder, a worker and two schedulers to what visitors see, and a
    master that is restarted often enough before its hour never runs it.
    """

    name = "janitor"
    every_seconds = EVERY_SECONDS

    @defer.inlineCallbacks
    def play_round(self):
        """One round; a failure is logged, and the next round tries again."""
        horizon = datetime.datetime.now(datetime.UTC) - datetime.timedelta(weeks=LOG_WEEKS)
        try:
            removed = yield self.master.db.logs.deleteOldLogChunks(datetime2epoch(horizon))
            yield self.master.db.build_data.deleteOldBuildData(datetime2epoch(horizon))
        except Exception as error:  # noqa: BLE001 nothing may end the rounds
            log.err(error, "janitor: old logs stay until the next round")
        else:
            log.msg(f"janitor: removed {removed} chunks of logs from before {horizon:%Y-%m-%d}")
