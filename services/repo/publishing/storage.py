"""The directories on the data volume, their owners and modes."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .settings import Settings

SPOOL_GROUP = "flathub-spool"


@dataclass(frozen=True)
class Directory:
    """A directory of the volume: everything below it belongs to the same user and group."""

    path: Path
    user: str
    group: str
    mode: int
    # Whether what is below it is owned alike; not so where directories of other users are inside.
    whole: bool = True


def directories(settings: Settings) -> list[Directory]:
    """All of them, a parent before its children."""
    return [
        Directory(settings.repository, "publisher", "publisher", 0o755),
        Directory(settings.served, "publisher", "publisher", 0o755),
        Directory(settings.status.parent, "publisher", "publisher", 0o755),
        Directory(settings.keyring, "publisher", "publisher", 0o700),
        Directory(settings.signer, "signer", "signer", 0o700),
        Directory(settings.root / "srv/worker", "worker", "worker", 0o700),
        Directory(settings.spool, "publisher", "publisher", 0o755, whole=False),
        # The set-group-ID bit gives what the worker puts here to the group that publisher and unpacker are in.
        Directory(settings.incoming, "worker", SPOOL_GROUP, 0o2750),
        # The worker moves jobs into it, the publisher out of it.
        Directory(settings.queue, "publisher", "worker", 0o770, whole=False),
        Directory(settings.work, "publisher", SPOOL_GROUP, 0o2750),
        Directory(settings.unpacked, "unpack", "publisher", 0o2750),
        Directory(settings.results, "publisher", "worker", 0o2750),
        Directory(settings.builds, "publisher", "publisher", 0o755),
        Directory(settings.views, "publisher", "publisher", 0o755),
    ]


def create_groups() -> None:
    subprocess.run(["groupadd", "--force", "--system", SPOOL_GROUP], check=True)


def _owned(path: Path, directory: Directory) -> bool:
    return (path.owner(), path.group()) == (directory.user, directory.group)


def create(settings: Settings) -> None:
    """Make what is missing, and give what is there to its users.

    A replaced machine may number its users differently than the one that wrote the volume: a directory whose owner is
    wrong is given over with all that is below it, itself last, so that a run that was killed is done again.
    """
    for directory in directories(settings):
        directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            owned = _owned(directory.path, directory)
        except KeyError:
            # A number that is no user's here.
            owned = False
        if not owned:
            if directory.whole:
                owner = f"{directory.user}:{directory.group}"
                subprocess.run(
                    ["find", directory.path, "-mindepth", "1", "-exec", "chown", "--no-dereference", owner, "{}", "+"],
                    check=True,
                )
            elif directory.path == settings.queue:
                for job in settings.queue.iterdir():
                    subprocess.run(["chown", "-RP", f"worker:{SPOOL_GROUP}", job], check=True)
            shutil.chown(directory.path, directory.user, directory.group)
        if os.stat(directory.path).st_mode & 0o7777 != directory.mode:
            directory.path.chmod(directory.mode)
