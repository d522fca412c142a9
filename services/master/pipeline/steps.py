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

BUILD_SECONDS = 9 * 3600
"""The builder ends a build earlier, and says why: after 6 hours, and at most 2 hours and 10 minutes of waiting before."""

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
    """Build one architecture of a commit in the sandbox, upload the repository that comes out."""
    tar = util.Interpolate("%(prop:builddir)s/repo.tar")
    return [
        BoundAttempts(),
        # A build that lost its worker could not clean up.
        remove("make room", tar),
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
                # As one argument: a subject may begin with a hyphen.
                util.Interpolate("--subject=%(prop:subject)s"),
                "--repository",
                util.Interpolate(f"{inventory.github.url}/{inventory.github.organization}/%(prop:app)s.git"),
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
        remove("clean up", tar),
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


def is_transferred(step) -> bool:
    """Whether a publish brings the job: not if an earlier one, which was cut off with the master, handed it over."""
    return not step.getProperty("handed_over")


def is_skipped(results: int, _step) -> bool:
    """Whether a step had nothing to do: it is not shown."""
    return results == util.SKIPPED


def is_in_doubt(step) -> bool:
    """Whether the publisher may still have a job whose publish was begun and did not come to a good end.

    When the master stops, and starts no more builds, the publisher keeps it: the master waits for it after its start.
    """
    begun = [each for each in step.build.executedSteps if each.name == "publish" and each.results != util.SUCCESS]
    return bool(begun) and bool(step.master.botmaster.brd.running)


def publish_steps(architectures: tuple[str, ...]) -> list[object]:
    """Bring all architectures and the job to repo's spool, then wait for the publisher's answer.

    A job that was handed over before (property ``handed_over``) is only waited for.
    """
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
            doStepIf=lambda step, architecture=architecture: (
                is_transferred(step) and architecture in step.getProperty("architectures")
            ),
            hideStepIf=is_skipped,
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
            doStepIf=is_transferred,
            hideStepIf=is_skipped,
        ),
        *downloads,
        steps.StringDownload(
            name="describe the job",
            s=job,
            workerdest=util.Interpolate(f"{SPOOL}/%(prop:build_id)s/job.json"),
            mode=0o644,
            haltOnFailure=True,
            doStepIf=is_transferred,
            hideStepIf=is_skipped,
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
        steps.ShellCommand(
            name="withdraw",
            command=[f"{ROLE}/publish-request", "withdraw", util.Property("build_id")],
            workdir=".",
            timeout=600,
            logEnviron=False,
            alwaysRun=True,
            flunkOnFailure=False,
            warnOnFailure=True,
            doStepIf=is_in_doubt,
            hideStepIf=is_skipped,
        ),
        remove("clean up", folder),
    ]
