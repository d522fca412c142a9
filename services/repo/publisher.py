#!/usr/bin/python3 -B
"""Publishes the jobs in the spool until none is left, lists what it published, and tidies up.

It may be killed anywhere: the next run finishes what was decided and does the rest once more. A job that can't be
published gets its error as its result and stops no other. While the signing key is locked jobs wait in the spool.
docs/publisher.md tells of the steps.
"""

import fcntl
import sys

from publishing import signing
from publishing.batch import Batch
from publishing.command import CommandFailed, Interrupted
from publishing.idle import Idle
from publishing.job import InvalidJob
from publishing.listing import Listing
from publishing.repository import Repository
from publishing.served import Served
from publishing.settings import Settings
from publishing.signature import Unverifiable
from publishing.spool import Spool
from publishing.status import Status


class Publisher:
    """One run of the publisher."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._settings = settings
        self._spool = Spool(settings)
        self._status = Status(settings, self._spool)
        self._repository = Repository(settings, key)
        self._served = Served(settings, self._repository)
        self._listing = Listing(settings, self._repository, self._served)
        self._batch = Batch(settings, self._spool, self._repository, self._served, self._listing)
        self._idle = Idle(settings, self._repository, self._served, self._listing)
        # Whether this run could not list what is published: it does not try for ever.
        self._failed = False

    def run(self) -> bool:
        """Work until nothing is left to do; returns whether all of it was done. Raises signing.Locked when the key
        can't be used."""
        self._finish_decided()
        if not self._served.current():
            # A repository without a signed summary is one that no client can add.
            self._served.publish()
        while True:
            try:
                if self._listing.is_overdue():
                    self._list()
                elif not self._spool.is_empty():
                    self._publish()
                elif self._listing.is_pending() and not self._failed:
                    self._list()
                else:
                    self.clean()
                    self._status.write("unlocked", "idle", [], "nothing to publish")
                    self._idle.run(self._is_urgent)
                    if self._spool.is_empty():
                        return not self._failed
            except Interrupted as program:
                print(f"{program} is done later: a job waits", flush=True)

    def clean(self) -> None:
        """Remove what a run that was killed left: it may be what fills the volume."""
        self._batch.clean()

    def require_signing(self) -> None:
        """Raise signing.Locked if the key can't be used.

        Jobs that wait need no proof if the key could be used the last time: signing them is the proof.
        """
        if self._spool.is_empty() or self._status.signing() != "unlocked":
            signing.require_signing(self._settings)

    def _is_urgent(self) -> bool:
        return not self._spool.is_empty()

    def _finish_decided(self) -> None:
        decision = self._batch.resume()
        if decision:
            self._status.write("unlocked", "publishing", decision.jobs(), f"finishing {', '.join(decision.jobs())}")
            self._batch.finish(decision)

    def serve_existing(self) -> None:
        """Serve a repository that was published before there were served directories; no key is needed for that."""
        if self._repository.has_summary() and not self._served.current():
            try:
                self._served.serve({})
            except Unverifiable as error:
                print(f"the summary in the repository is made anew: {error}", flush=True)

    def _publish(self) -> None:
        jobs = self._batch.take()
        self._status.write("unlocked", "publishing", jobs, f"publishing {', '.join(jobs)}")
        self._batch.publish(jobs)

    def _list(self) -> None:
        self._status.write("unlocked", "listing", [], "listing what was published")
        try:
            self._listing.run(self._is_urgent)
        except (CommandFailed, Unverifiable, InvalidJob, OSError) as error:
            signing.require_signing(self._settings)
            print(f"what was published is not listed, the next run tries again: {error}", flush=True)
            self._listing.give_up()
            self._failed = True
        self._served.retire()


def publish_all(settings: Settings) -> bool:
    """Publish every job of the spool; returns when nothing is left to do or the key is locked, and whether all was
    done that could be."""
    try:
        publisher = Publisher(settings, signing.fingerprint(settings))
        publisher.clean()
        publisher.serve_existing()
        publisher.require_signing()
        try:
            return publisher.run()
        except (CommandFailed, Unverifiable):
            # A command that signs fails like any other when the key was locked meanwhile.
            signing.require_signing(settings)
            raise
    except signing.VolumeFull as reason:
        print(f"nothing is published until there is room on the volume: {reason}", flush=True)
        return False
    except signing.Locked as reason:
        message = f"the signing key is locked, publishing waits for unlock-signing: {reason}"
        print(message, flush=True)
        Status(settings, Spool(settings)).write("locked", "waiting", [], message)
        return True


def main(settings: Settings) -> int:
    with (settings.work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another publisher is running: it holds {lock.name}", file=sys.stderr)
            return 1
        return 0 if publish_all(settings) else 1


if __name__ == "__main__":
    sys.exit(main(Settings()))
