# -*- python -*-
"""A Buildbot worker as a Twisted application; started in its base folder by buildbot-worker.service."""

import json
import os
import socket
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.application import service

inventory = json.loads(Path(os.environ["FLATHUB_INVENTORY"]).read_text())
password = Path(os.environ["CREDENTIALS_DIRECTORY"], "worker-password").read_text().strip()

application = service.Application("buildbot-worker")
worker = Worker(
    inventory["master"],
    int(os.environ.get("FLATHUB_PB_PORT", "9989")),
    inventory["name"],
    password,
    os.getcwd(),
    60,  # seconds between keepalives: a lost master is noticed within minutes
    umask=0o022,
    maxdelay=15,  # seconds between attempts to connect, at most
    allow_shutdown="signal",  # SIGHUP: finish the builds under way, then end
    delete_leftover_dirs=True,
)


def probed(protocol):
    """Let the kernel notice, within a minute, that the master is gone, from the connection's first moment on.

    Buildbot's own signs of life begin after the login; a master that is switched off before it has answered one would
    leave the worker waiting on a dead connection for ever.
    """
    connection_made = protocol.connectionMade

    def probe():
        handle = protocol.transport.getHandle()
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
            handle.setsockopt(socket.IPPROTO_TCP, option, value)
        connection_made()

    protocol.connectionMade = probe
    return protocol


build_protocol = worker.bf.buildProtocol
worker.bf.buildProtocol = lambda address: probed(build_protocol(address))
worker.setServiceParent(application)
