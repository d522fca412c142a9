"""The Buildbot worker of the repository machine: twistd runs this file."""

import os
import socket
import sys
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.application import service

ROLE = Path("/opt/flathub/current/role")
sys.path.insert(0, str(ROLE))

from publishing.settings import Inventory  # noqa: E402

inventory = Inventory.load(ROLE.parent / "generated/inventory.json")
password = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "worker-password").read_text().strip()

application = service.Application("buildbot-worker")
worker = Worker(
    inventory.master,
    9989,
    inventory.name,
    password,
    "/srv/worker",
    # Seconds between signs of life: less than what a firewall takes to forget a connection.
    keepalive=60,
    umask=0o027,
    # The longest pause between attempts to reach the master, in seconds.
    maxdelay=30,
    allow_shutdown=None,
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
