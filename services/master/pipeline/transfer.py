"""Transfers between the master and its workers: room and checksum checked, stalled ones ended."""

from __future__ import annotations

import os
from pathlib import Path

from buildbot.plugins import steps
from buildbot.process import remotetransfer
from buildbot.process.results import FAILURE, SUCCESS
from buildbot.steps.transfer import makeStatusRemoteCommand
from twisted.internet import defer, reactor, threads
from twisted.python import log

from .liveness import abort
from .uploads import MAX_BYTES, SHA256, ChecksumError, NoRoom, accept, room

STALL_SECONDS = float(os.environ.get("FLATHUB_STALL_SECONDS", "120"))
"""A transfer without a block for so long is ended.

What does not move a block of half a MiB in that time does not answer an interruption either, so the worker's connection is
dropped: the build ends, gives back what it holds, and Buildbot runs it again when the worker is back; a build that
was cut off too often fails (`attempts.py`).
"""


class Watchdog:
    """Drops a worker's connection unless it is fed."""

    def __init__(self, what: str, conn) -> None:
        self._what = what
        self._conn = conn
        self._call = reactor.callLater(STALL_SECONDS, self._bite)

    def feed(self) -> None:
        """There was progress."""
        if self._call.active():
            self._call.reset(STALL_SECONDS)

    def stop(self) -> None:
        """The transfer has ended."""
        if self._call.active():
            self._call.cancel()

    def _bite(self) -> None:
        log.msg(f"{self._what}: no progress for {STALL_SECONDS:.0f} seconds; dropping the worker's connection")
        abort(self._conn)


class WatchedWriter(remotetransfer.FileWriter):
    """Tells of each block that arrives."""

    def __init__(self, destination: Path, limit: int, watchdog: Watchdog) -> None:
        super().__init__(str(destination), limit, 0o600)
        self._destination = destination
        self._watchdog = watchdog

    def remote_write(self, data):
        """Take a block."""
        self._watchdog.feed()
        super().remote_write(data)
        room.arrived(self._destination, len(data))


class WatchedReader(remotetransfer.FileReader):
    """Tells of each block that is asked for."""

    def __init__(self, file, watchdog: Watchdog) -> None:
        super().__init__(file)
        self._watchdog = watchdog

    def remote_read(self, maxlength):
        """Give a block."""
        self._watchdog.feed()
        return super().remote_read(maxlength)


class Upload(steps.FileUpload):
    """Upload of what a build left, measured on the worker before: properties ``size`` (bytes) and ``sha256`` (hex)."""

    @defer.inlineCallbacks
    def run(self):
        """Check the room, upload, verify."""
        self.stdio_log = yield self.addLog("stdio")
        size, sha256 = self.getProperty("size"), self.getProperty("sha256")
        destination = Path(self.masterdest)
        try:
            if not isinstance(size, int) or not SHA256.fullmatch(str(sha256)):
                raise NoRoom(f"{destination.name}: was not measured on the worker")
            if size > MAX_BYTES:
                raise NoRoom(f"{destination.name}: has {size} bytes, more than {MAX_BYTES}")
            room.reserve(destination, size)
        except NoRoom as error:
            return (yield self.failed(str(error)))
        watchdog = Watchdog(f"upload of {destination}", self.build.conn)
        # A worker that has sent as much as it may calls that a failure before it looks for the end of the file.
        limit = size + 1
        try:
            writer = WatchedWriter(destination, limit, watchdog)
            arguments = {
                "workdir": self.workdir,
                "workersrc": self.workersrc,
                "writer": writer,
                "maxsize": limit,
                "blocksize": self.blocksize,
                "keepstamp": False,
            }
            results = yield self.runTransferCommand(makeStatusRemoteCommand(self, "uploadFile", arguments), writer)
            # What follows is the master's own work, without the worker.
            watchdog.stop()
            if results == SUCCESS:
                yield threads.deferToThread(accept, destination, size, sha256)
        except ChecksumError as error:
            destination.unlink(missing_ok=True)
            return (yield self.failed(str(error)))
        finally:
            watchdog.stop()
            room.release(destination)
        return results

    @defer.inlineCallbacks
    def failed(self, message: str):
        """Fail with a reason that the commit's status names."""
        self.setProperty("problem", f"upload: {message}", self.name)
        yield self.addCompleteLog("problem", f"{message}\n")
        return FAILURE


class Download(steps.FileDownload):
    """Download that is ended when it stalls."""

    @defer.inlineCallbacks
    def run(self):
        """Download."""
        self.stdio_log = yield self.addLog("stdio")
        try:
            file = open(self.mastersrc, "rb")  # noqa: SIM115 closed by the reader
        except OSError as error:
            yield self.addCompleteLog("problem", f"{self.mastersrc}: {error.strerror}\n")
            return FAILURE
        watchdog = Watchdog(f"download of {self.mastersrc}", self.build.conn)
        reader = WatchedReader(file, watchdog)
        arguments = {
            "workdir": self.workdir,
            "workerdest": self.workerdest,
            "reader": reader,
            "maxsize": self.maxsize,
            "blocksize": self.blocksize,
            "mode": self.mode,
        }
        try:
            return (yield self.runTransferCommand(makeStatusRemoteCommand(self, "downloadFile", arguments)))
        finally:
            watchdog.stop()
            reader.remote_close()
