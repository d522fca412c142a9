"""Tells who delivers a configuration when Buildbot has taken it over."""

from __future__ import annotations

import hashlib
from pathlib import Path

from buildbot.util.service import BuildbotService


def configuration_digest(inventory: Path, secrets: Path) -> str:
    """Digest of all that a reconfiguration reads."""
    digest = hashlib.sha256(inventory.read_bytes())
    for path in sorted(secrets.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Readiness(BuildbotService):
    """Writes the digest of the configuration to a file once every other service is configured with it."""

    name = "readiness"
    reconfig_priority = -1000

    def reconfigService(self, marker, digest):
        """Called at the start and by a reconfiguration that changed the digest."""
        path = Path(marker)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(digest + "\n")
        temporary.rename(path)
        # Buildbot compares a new configuration with this, which it never updates: going back would be no change.
        self._config_kwargs = {"marker": marker, "digest": digest}
