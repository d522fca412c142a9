"""What is to be built: run-build's arguments, every one checked."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

WORKER_HOME = Path("/var/lib/worker")
BUILDS = Path("/var/lib/build/builds")
BRANCH = "stable"

APP_ID = re.compile(r"(?=.{3,255}\Z)[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\.[A-Za-z_][A-Za-z0-9_-]*")
REPOSITORY = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~%+-]+)+/?")
"""Address of a repository: neither a user's name nor a password, query or option."""

STAGES = ("checkout", "fetch", "build", "check")
"""A job's units, in the order in which they run."""

NETWORKED = ("checkout", "fetch")
"""The stages with a network; they run nothing of the app's."""


class BuildError(Exception):
    """The build can't be done or failed; the message says why.

    ``status`` is run-build's exit status: 1 the build failed, 2 refused, 3 ended from outside.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def unit_name(stage: str, name: str) -> str:
    """The transient unit of a stage of a build."""
    return f"flathub-build-{name}-{stage}.service"


@dataclass(frozen=True)
class Job:
    """One app, one commit, one architecture."""

    architecture: str
    app: str
    commit: str
    build_id: str
    subject: str
    repository: str
    output: Path
    end_with_input: bool

    @property
    def name(self) -> str:
        """Name of the work folder and part of the units' names."""
        return f"{self.build_id}-{self.architecture}"

    @property
    def work(self) -> Path:
        """The work folder, owned by `build`."""
        return BUILDS / self.name

    def unit(self, stage: str) -> str:
        """The transient unit of one of the STAGES."""
        return unit_name(stage, self.name)


def parse_arguments(arguments: list[str], architectures: list[str]) -> Job:
    """Check every argument; BuildError names the first that is wrong."""
    parser = argparse.ArgumentParser(prog="run-build", allow_abbrev=False)
    for name in ("architecture", "app", "commit", "build-id", "repository", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--subject", default="")
    parser.add_argument("--end-with-input", action="store_true")
    given = parser.parse_args(arguments)

    def check(name: str, value: str, fine: bool, expected: str) -> None:
        if not fine:
            raise BuildError(f"--{name} {value!r}: expected {expected}", 2)

    check("architecture", given.architecture, given.architecture in architectures, f"one of {', '.join(architectures)}")
    check("app", given.app, APP_ID.fullmatch(given.app) is not None, "an application id")
    check("commit", given.commit, re.fullmatch(r"[0-9a-f]{40}", given.commit) is not None, "a full commit name")
    check("build-id", given.build_id, re.fullmatch(r"[1-9][0-9]{0,15}", given.build_id) is not None, "a number")
    subject = "".join(char for char in given.subject if char.isprintable())[:200]
    address = given.repository
    check("repository", address, REPOSITORY.fullmatch(address) is not None, "an http(s) address without a user's name")
    output = Path(given.output)
    inside = output.is_absolute() and ".." not in output.parts and output.is_relative_to(WORKER_HOME)
    check("output", given.output, inside and output != WORKER_HOME, f"an absolute path below {WORKER_HOME}")
    return Job(
        given.architecture,
        given.app,
        given.commit,
        given.build_id,
        subject,
        address,
        output,
        given.end_with_input,
    )
