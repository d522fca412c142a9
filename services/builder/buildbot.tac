# -*- python -*-
"""A Buildbot worker as a Twisted application; started in its base folder by buildbot-worker.service."""

import json
import os
import socket
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.application import service
from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper
from twisted.python import log

inventory = json.loads(Path(os.environ["FLATHUB_INVENTORY"]).read_text())
master = inventory["master"]


def credential(name):
    """A secret that systemd has handed over."""
    return Path(os.environ["CREDENTIALS_DIRECTORY"], name).read_text().strip()


def master_endpoint():
    """The way to the master; where it is known by a name, over TLS with this worker's certificate."""
    endpoint = HostnameEndpoint(reactor, master["host"], master["port"])
    if master["tlsName"] is None:
        return endpoint
    options = optionsForClientTLS(
        master["tlsName"],
        trustRootFromCertificates([Certificate.loadPEM(credential("worker-authority.pem"))]),
        PrivateCertificate.loadPEM(credential("worker-certificate.pem") + "\n" + credential("worker-key.pem")),
    )
    return wrapClientTLS(options, endpoint)


def probed(protocol):
    """Let the kernel notice, within a minute, that the master is gone, from the connection's first moment on.

    And say why a connection is lost: Twisted's client only says that it will try again.

    Buildbot's own signs of life begin after the login; a master that is switched off before it has answered one would
    leave the worker waiting on a dead connection for ever.
    """
    connection_made, connection_lost = protocol.connectionMade, protocol.connectionLost

    def probe():
        transport = protocol.transport
        if isinstance(transport, ProtocolWrapper):
            transport = transport.transport  # what TLS runs on
        handle = transport.getHandle()
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
            handle.setsockopt(socket.IPPROTO_TCP, option, value)
        connection_made()

    def tell(reason):
        log.msg(f"the connection to {master['host']}:{master['port']} is lost: {reason.value!r}")
        connection_lost(reason)

    protocol.connectionMade, protocol.connectionLost = probe, tell
    return protocol


application = service.Application("buildbot-worker")
worker = Worker(
    master["host"],
    master["port"],
    inventory["name"],
    credential("worker-password"),
    os.getcwd(),
    60,  # seconds between keepalives: a lost master is noticed within minutes, and front's proxy sees no idle connection
    umask=0o022,
    allow_shutdown="signal",  # SIGHUP: finish the builds under way, then end
    delete_leftover_dirs=True,
)
build_protocol = worker.bf.buildProtocol
worker.bf.buildProtocol = lambda address: probed(build_protocol(address))
# Its own client knows no TLS with a certificate and a name other than the host's.
[client] = [each for each in worker if isinstance(each, ClientService)]
worker.removeService(client)
worker.addService(ClientService(master_endpoint(), worker.bf, retryPolicy=backoffPolicy(maxDelay=15)))
worker.setServiceParent(application)
