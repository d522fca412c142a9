"""The users that touch a build's files: `worker` has the result, `build` everything before it."""

from __future__ import annotations

import pwd
from pathlib import Path

from .job import BuildError

WORKER, BUILD = "worker", "build"


def account(name: str) -> pwd.struct_passwd:
    """A user of this machine."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise BuildError(f"this machine has no user {name!r}; its first boot is not complete", 2) from None


def as_user(name: str) -> dict[str, object]:
    """Arguments of Popen to run as a user and nothing else."""
    entry = account(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "umask": 0o022}


def environment(home: Path) -> dict[str, str]:
    """A clean environment: nothing of the worker's reaches a build."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
