"""The web service: everybody may look, nobody may touch."""

from __future__ import annotations

from pathlib import Path

from buildbot.plugins import util
from buildbot.www import rest
from twisted.internet import reactor, threads

from .change_hook import ChangeHook
from .inventory import Inventory

PORT = "tcp:8010"


def write_json(request, encoder, data) -> None:
    """Answer a request of the API; runs in a thread of the pool.

    In the place of Buildbot 4.3's, which writes to the connection from that thread. Twisted's reactor is not made for
    that: a client that left during its answer could leave its descriptor's number registered for writing, and with the
    epoll reactor every later connection that got the number was reset, FileNotFoundError in the log, until a restart.
    """
    body = encoder.encode(data).encode()

    def answer() -> None:
        if request.finished or request.channel is None:
            return
        request.setHeader(b"content-length", str(len(body)).encode())
        if request.method != b"HEAD":
            request.write(body)

    threads.blockingCallFromThread(reactor, answer)


rest.V2RootResource._write_json_data = staticmethod(write_json)


def make_web(inventory: Inventory, secrets: Path, port: str = PORT) -> dict[str, object]:
    """Buildbot's `www`; no role matches anybody, so every control endpoint is denied."""
    return {
        "port": port,
        "plugins": {"console_view": {}, "grid_view": {}, "waterfall_view": {}},
        "authz": util.Authz(allowRules=[util.AnyControlEndpointMatcher(role="nobody")], roleMatchers=[]),
        "change_hook_dialects": {
            "github": {
                "custom_class": ChangeHook,
                "organization": inventory.github.organization,
                "secrets": str(secrets),
            }
        },
    }
