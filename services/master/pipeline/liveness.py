"""Notices workers that are gone without having closed their connection."""

from __future__ import annotations

import os

from twisted.internet import defer, reactor
from twisted.python import log

from .periodic import Periodic

SILENCE_SECONDS = float(os.environ.get("FLATHUB_WORKER_SILENCE_SECONDS", "180"))
"""A worker that was lost is noticed after so long at most: it is asked for a sign of life every third of that, and has
the rest to give it.

Buildbot's master sends a keepalive once an hour, whatever `keepalive_interval` says, and waits for the answer without a
limit; TCP's own keepalive says nothing of a remote builder, whose connection ends at front. Together with the workers'
keepalive (60 seconds) this also keeps the connections through front's proxy, which closes those that were idle for ten
minutes, and through firewalls on the way.
"""


def abort(conn) -> None:
    """Close a worker's connection without waiting for what it has not taken yet; Buildbot runs its builds again."""
    if conn.mind is not None:
        conn.mind.broker.transport.abortConnection()


class Liveness(Periodic):
    """Asks each worker for a sign of life and drops those that give none."""

    name = "liveness"
    every_seconds = SILENCE_SECONDS / 3

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._asking: set[str] = set()

    def play_round(self) -> None:
        """Ask every worker that dialled in; those in the master's own process have no connection to lose."""
        for worker in self.master.workers.workers.values():
            conn = worker.conn
            if getattr(conn, "mind", None) is not None and worker.workername not in self._asking:
                self.ask(worker.workername, conn).addErrback(log.err, f"asking {worker.workername}")

    @defer.inlineCallbacks
    def ask(self, name: str, conn):
        """Ask one worker."""
        self._asking.add(name)
        try:
            answer = conn.remotePrint("keepalive")
            answer.addTimeout(SILENCE_SECONDS * 2 / 3, reactor)
            yield answer
        except defer.TimeoutError:
            log.msg(f"worker {name}: no sign of life for {SILENCE_SECONDS:.0f} seconds; dropping its connection")
            abort(conn)
        except Exception as error:  # noqa: BLE001 a worker that leaves meanwhile is none of these
            log.msg(f"worker {name}: {error}")
        finally:
            self._asking.discard(name)
