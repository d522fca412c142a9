"""Steps that run on the other machines."""

from __future__ import annotations

import json
import os

from buildbot.plugins import steps, util

from .inventory import Inventory
from .uploads import BLOCK_BYTES, MAX_BYTES, SPOOL, UPLOADS

ROLE = os.environ.get("FLATHUB_WORKER_ROLE", "/opt/flathub/current/role")
"""Folder of the role on a worker."""

SILENCE_SECONDS = 3000
"""A build that prints nothing for so long is ended."""

BUILD_SECONDS = 6 * 3600
PUBLISH_SECONDS = 3 * 3600


def build_steps(inventory: Inventory, architecture: str) -> list[object]:
    """Check out, build in the sandbox, upload the repository of one architecture."""
    tar = util.Interpolate("%(prop:builddir)s/repo.tar")
    source = util.Interpolate("%(prop:builddir)s/source")
    return [
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
        steps.FileUpload(
            name="upload",
            workersrc=tar,
            masterdest=util.Interpolate(f"{UPLOADS}/%(prop:build_id)s/{architecture}.tar"),
            blocksize=BLOCK_BYTES,
            maxsize=MAX_BYTES,
            mode=0o600,
            haltOnFailure=True,
        ),
        steps.ShellCommand(
            name="clean up",
            command=["rm", "-rf", "--", tar, source],
            workdir=".",
            alwaysRun=True,
            flunkOnFailure=False,
            warnOnFailure=True,
            logEnviron=False,
        ),
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
        },
        indent=1,
    )


def publish_steps(architectures: tuple[str, ...]) -> list[object]:
    """Bring all architectures and the job to repo's spool, then wait for the publisher's answer."""
    folder = util.Interpolate(f"{SPOOL}/%(prop:build_id)s")
    downloads = [
        steps.FileDownload(
            name=f"download {architecture}",
            mastersrc=util.Interpolate(f"{UPLOADS}/%(prop:build_id)s/{architecture}.tar"),
            workerdest=util.Interpolate(f"{SPOOL}/%(prop:build_id)s/{architecture}.tar"),
            blocksize=BLOCK_BYTES,
            maxsize=MAX_BYTES,
            mode=0o644,
            haltOnFailure=True,
            doStepIf=lambda step, architecture=architecture: architecture in step.getProperty("architectures"),
            hideStepIf=lambda results, step: results == util.SKIPPED,
        )
        for architecture in architectures
    ]
    return [
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
            command=[f"{ROLE}/publish-request", util.Property("build_id")],
            workdir=".",
            timeout=PUBLISH_SECONDS,
            maxTime=PUBLISH_SECONDS,
            logEnviron=False,
            haltOnFailure=True,
        ),
        steps.ShellCommand(
            name="clean up",
            command=["rm", "-rf", "--", folder],
            workdir=".",
            alwaysRun=True,
            flunkOnFailure=False,
            warnOnFailure=True,
            logEnviron=False,
        ),
    ]
