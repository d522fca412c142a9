"""The virtualenv of the Buildbot worker, locked by hash."""

import hashlib
import shutil
import subprocess
from pathlib import Path

VIRTUALENVS = Path("/opt/flathub/venvs")
LINK = Path("/opt/flathub/venv")


def path_for(requirements: Path) -> Path:
    return VIRTUALENVS / hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]


def ensure(requirements: Path) -> Path:
    """Make the virtualenv of a requirements file, unless it is there and complete.

    It is made in place and marked when it is complete, since its scripts carry its path: one made elsewhere and
    renamed would not run.
    """
    path = path_for(requirements)
    mark = path / ".complete"
    if not mark.exists():
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["python3", "-m", "venv", path], check=True)
        subprocess.run(
            [path / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
            + ["--require-hashes", "-r", requirements],
            check=True,
        )
        mark.touch()
    return path


def activate(path: Path) -> None:
    """Point the units' link at a virtualenv, in one step."""
    new = LINK.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.symlink_to(path)
    new.rename(LINK)
