"""Whether the signing key signs, and for how long it still will: found by signing, told in a file."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .command import CommandFailed
from .settings import Settings
from .signing import Failing, Locked, fingerprint, public_keys, require_signing

# A renewed key reaches a client with a summary: one that comes only now and then must see it before the old one ends.
WARNING = timedelta(days=180)


@dataclass(frozen=True)
class Health:
    """What the check found; `state` is ok, expiring, locked or failing."""

    state: str
    message: str
    # Of the primary key, and of the subkey that has signed; None if it is not known.
    fingerprint: str | None = None
    subkey: str | None = None
    # The earlier end of the two (of all keys, when none has signed); None: never, or not known.
    expires: datetime | None = None

    @property
    def signs(self) -> bool:
        return self.state in ("ok", "expiring")


def check(settings: Settings, now: datetime) -> Health:
    """Sign and verify as the publisher does, and look at the expiry. Any trouble is part of the answer."""
    key = subkey = expires = None
    try:
        key = fingerprint(settings)
        keys = public_keys(settings)
        expires = _end([public.expires for public in keys])
        subkey = require_signing(settings)
        expires = _end([public.expires for public in keys if public.fingerprint in (key, subkey)])
    except Locked as reason:
        if expires and expires <= now:
            return Health("failing", f"expired on {expires:%Y-%m-%d}: {reason}", key, subkey, expires)
        state = "failing" if isinstance(reason, Failing) else "locked"
        return Health(state, str(reason), key, subkey, expires)
    except CommandFailed as error:
        return Health("failing", str(error), key, subkey, expires)
    if expires and expires - now < WARNING:
        days = (expires - now).days
        return Health("expiring", f"signs, but ends in {days} days: renew or replace it", key, subkey, expires)
    return Health("ok", "has just signed", key, subkey, expires)


def _end(moments: list[datetime | None]) -> datetime | None:
    return min((moment for moment in moments if moment), default=None)


def path(settings: Settings) -> Path:
    return settings.root / "srv/status/signing.json"


def _text(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def write(settings: Settings, health: Health, now: datetime) -> None:
    """Write the file that is served as /status/signing.json; a reader sees the old one or the new one."""
    told = {
        "state": health.state,
        "fingerprint": health.fingerprint,
        "subkey": health.subkey,
        "expires": _text(health.expires),
        "message": health.message,
        "checked": _text(now),
    }
    file = path(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(told) + "\n")
    new.chmod(0o644)
    new.rename(file)


def run_check(settings: Settings) -> Health:
    """Check, and write what was found."""
    now = datetime.now(UTC)
    health = check(settings, now)
    write(settings, health, now)
    return health


def in_words(settings: Settings) -> str:
    """What the file says, for a person."""
    try:
        told = json.loads(path(settings).read_text())
        return f"the check at {told['checked']} found the signing key {told['state']}: {told['message']}"
    except (OSError, ValueError, KeyError) as error:
        return f"the check of the signing key has left no result: {error}"
