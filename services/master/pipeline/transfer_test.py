"""Uploads step by step, without a worker; whole ones are in push_to_publish_test.py and interruptions_test.py."""

from types import SimpleNamespace

import pytest
from buildbot.process.buildstep import create_step_from_step_or_factory
from buildbot.process.results import FAILURE, SUCCESS
from twisted.internet import defer
from twisted.internet.task import Clock

from pipeline import transfer, uploads
from pipeline.transfer import STALL_SECONDS, Upload


class Steered(Upload):
    """An upload that has arrived at once, and is measured already."""

    begun = False

    def getProperty(self, name):
        """Of what was measured."""
        return self.known[name]

    def setProperty(self, name, value, _source):
        """Keep it."""
        self.known[name] = value

    def addLog(self, _name):
        """No log."""
        return defer.succeed(None)

    def addCompleteLog(self, _name, _text):
        """No log."""
        return defer.succeed(None)

    def runTransferCommand(self, _command, _writer):
        """The worker has sent everything."""
        self.begun = True
        return defer.succeed(SUCCESS)


def upload_of(size):
    """The upload of a file of so many bytes."""
    step = create_step_from_step_or_factory(Steered(workersrc="repo.tar", masterdest="/nowhere/x86_64.tar"))
    step.known = {"size": size, "sha256": "f" * 64}
    step.build = SimpleNamespace(conn=object(), workdir=".")
    return step


@pytest.fixture(name="clock")
def without_files(tmp_path, monkeypatch):
    """The clock of the watchdog; nothing is written."""
    clock = Clock()
    monkeypatch.setattr(transfer, "reactor", clock)
    monkeypatch.setattr(transfer, "makeStatusRemoteCommand", lambda *_arguments: None)
    monkeypatch.setattr(transfer, "WatchedWriter", lambda *_arguments: None)
    monkeypatch.setattr(uploads, "UPLOADS", tmp_path)
    monkeypatch.setattr(uploads, "RESERVE_BYTES", 0)
    return clock


def test_the_master_takes_its_time_to_read_what_has_arrived(clock, monkeypatch):
    dropped, reading = [], defer.Deferred()
    monkeypatch.setattr(transfer, "abort", dropped.append)
    monkeypatch.setattr(transfer.threads, "deferToThread", lambda *_arguments: reading)
    ended = []
    upload_of(1).run().addBoth(ended.append)
    clock.advance(STALL_SECONDS + 1)
    assert (dropped, ended) == ([], [])
    reading.callback(None)
    assert ended == [SUCCESS]


def test_without_room_on_the_master_nothing_is_uploaded(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "RESERVE_BYTES", uploads.shutil.disk_usage(tmp_path).total)
    upload = upload_of(1)
    ended = []
    upload.run().addBoth(ended.append)
    assert ended == [FAILURE]
    assert upload.known["problem"].startswith("upload: no room on the master: x86_64.tar has ")
    assert not upload.begun
    assert not clock.getDelayedCalls()
