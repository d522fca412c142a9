"""The web service: everybody may look, nobody may touch."""

from __future__ import annotations

from pathlib import Path

from buildbot.plugins import util

from .change_hook import ChangeHook
from .inventory import Inventory

PORT = "tcp:8010"


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
