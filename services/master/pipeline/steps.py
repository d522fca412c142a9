"""Steps that run on the other machines."""

from __future__ import annotations

import json
import os

from buildbot.plugins import steps, util

from .attempts import BoundAttempts
from .inventory import Inventory
from .leftovers import RemoveLeftovers
from .transfer import Download, Upload
from .uploads import BLOCK_BYTES, MAX_BYTES, SHA256, SPOOL, UPLOADS

ROLE = os.environ.get("FLATHUB_WORKER_ROLE", "/opt/flathub/current/role")
"""Folder of the role on a worker."""

SILENCE_SECONDS = 3000
"""A build that prints nothing for so long is ended."""

BUILD_SECONDS = 6 * 3600
PUBLISH_SECONDS = 72 * 3600
"""A publish waits over a weekend for somebody to unlock the signing key; what the publisher does is on its status page."""


def remove(name: str, *paths: object) -> object:
    """A step that removes files and folders of a worker, whatever became of the build."""
    return steps.ShellCommand(
        name=name,
        command=["rm", "-rf", "--", *paths],
        workdir=".",
        alwaysRun=True,
        flunkOnFailure=False,
        warnOnFailure=True,
        logEnviron=False,
    )


def read_size(_status: int, stdout: str, _stderr: str) -> dict[str, object]:
    """The property that stat's output gives."""
    return {"size": int(stdout)} if stdout.strip().isdecimal() else {}


def read_sha256(_status: int, stdout: str, _stderr: str) -> dict[str, object]:
    """The property that sha256sum's output gives."""
    digest = stdout.partition(" ")[0]
    return {"sha256": digest} if SHA256.fullmatch(digest) else {}


def build_steps(inventory: Inventory, architecture: str) -> list[object]:
    """Check out, build in the sandbox, upload the repository of one architecture."""
    tar = util.Interpolate("%(prop:builddir)s/repo.tar")
    source = util.Interpolate("%(prop:builddir)s/source")
    return [
        BoundAttempts(),
        # A build that lost its worker could not clean up.
        remove("make room", tar, source),
        steps.Git(
            name="check out",
            repourl=util.Interpolate(f"{inventory.github.url}/{inventory.github.organization}/%(prop:app)s.git"),
            mode="full",
            method="clobber",
            submodules=True,
            workdir="source",
            env={"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "http:https"},
            logEnviron=False,
            timeout=600,
            haltOnFailure=True,
        ),
        steps.ShellCommand(
            name="build",
            command=[
                f"{ROLE}/request-build",
                "--architecture",
                architecture,
                "--app",
                util.Property("app"),
                "--commit",
                util.Property("commit"),
                "--build-id",
                util.Property("build_id"),
                "--subject",
                util.Property("subject"),
                "--source",
                source,
                "--output",
                tar,
            ],
            workdir=".",
            timeout=SILENCE_SECONDS,
            maxTime=BUILD_SECONDS,
            interruptSignal="TERM",
            sigtermTime=60,
            logEnviron=False,
            haltOnFailure=True,
        ),
        *(
            steps.SetPropertyFromCommand(
                name=f"measure {what}",
                command=[*command, "--", tar],
                extract_fn=extract,
                workdir=".",
                timeout=1200,
                logEnviron=False,
                haltOnFailure=True,
            )
            for what, command, extract in (
                ("size", ["stat", "--format=%s"], read_size),
                ("checksum", ["sha256sum"], read_sha256),
            )
        ),
        Upload(
            name="upload",
            workersrc=tar,
            masterdest=util.Interpolate(f"{UPLOADS}/%(prop:build_id)s/{architecture}.tar"),
            blocksize=BLOCK_BYTES,
            haltOnFailure=True,
        ),
        remove("clean up", tar, source),
    ]


@util.renderer
def job(props):
    """job.json: what the publisher is asked to publish."""
    return json.dumps(
        {
            "id": props.getProperty("build_id"),
            "app": props.getProperty("app"),
            "commit": props.getProperty("commit"),
            "subject": props.getProperty("subject"),
            "branch": "stable",
            "architectures": props.getProperty("architectures"),
            "sha256": props.getProperty("sha256"),
        },
        indent=1,
    )


def publish_steps(architectures: tuple[str, ...]) -> list[object]:
    """Bring all architectures and the job to repo's spool, then wait for the publisher's answer."""
    folder = util.Interpolate(f"{SPOOL}/%(prop:build_id)s")
    downloads = [
        Download(
            name=f"download {architecture}",
            mastersrc=util.Interpolate(f"{UPLOADS}/%(prop:build_id)s/{architecture}.tar"),
            workerdest=util.Interpolate(f"{SPOOL}/%(prop:build_id)s/{architecture}.tar"),
            blocksize=BLOCK_BYTES,
            maxsize=MAX_BYTES + 1,
            mode=0o644,
            haltOnFailure=True,
            doStepIf=lambda step, architecture=architecture: architecture in step.getProperty("architectures"),
            hideStepIf=lambda results, step: results == util.SKIPPED,
        )
        for architecture in architectures
    ]
    return [
        BoundAttempts(),
        RemoveLeftovers(folder=SPOOL),
        steps.ShellCommand(
            name="room",
            command=[f"{ROLE}/publish-request", "room", util.Interpolate("%(prop:bytes)s")],
            workdir=".",
            timeout=600,
            logEnviron=False,
            haltOnFailure=True,
        ),
        *downloads,
        steps.StringDownload(
            name="describe the job",
            s=job,
            workerdest=util.Interpolate(f"{SPOOL}/%(prop:build_id)s/job.json"),
            mode=0o644,
            haltOnFailure=True,
        ),
        steps.ShellCommand(
            name="publish",
            command=[
                f"{ROLE}/publish-request",
                "publish",
                util.Property("build_id"),
                "--deadline-seconds",
                str(PUBLISH_SECONDS),
            ],
            workdir=".",
            timeout=PUBLISH_SECONDS + 60,
            maxTime=PUBLISH_SECONDS + 60,
            logEnviron=False,
            haltOnFailure=True,
        ),
        remove("clean up", folder),
    ]
