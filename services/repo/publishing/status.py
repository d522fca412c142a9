"""What the publisher is doing, for everybody: status/publisher.json."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from .settings import Settings
from .spool import Spool, write_json


class Status:
    def __init__(self, settings: Settings, spool: Spool) -> None:
        self._settings, self._spool = settings, spool

    def signing(self) -> str | None:
        """What was told of the key the last time."""
        try:
            return json.loads(self._settings.status.read_text())["signing"]
        except (OSError, ValueError, KeyError):
            return None

    def write(self, signing: str, phase: str, publishing: Iterable[str], message: str) -> None:
        """Tell what goes on: `signing` is "unlocked" or "locked", `phase` "publishing", "listing", "idle" or
        "waiting", `publishing` are the jobs at work."""
        at_work = list(publishing)
        told = {
            "signing": signing,
            "publishing": at_work,
            "waiting": [job for job in self._spool.waiting() if job not in at_work],
            "phase": phase,
            "message": message,
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            write_json(self._settings.status, told)
        except OSError as error:
            # On a full volume what frees it comes after this.
            print(f"{message} (not told in {self._settings.status}: {error})", flush=True)
