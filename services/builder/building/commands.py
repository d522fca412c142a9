"""What runs in each stage's unit: argument lists, never a shell's line."""

from __future__ import annotations

import json
from pathlib import Path

from .job import BRANCH, Job

ROLE = Path(__file__).resolve().parent.parent
"""The role's folder of the release at work."""


def flatpak_builder(job: Job, *more: str) -> list[str]:
    """flatpak-builder in the work folder's `source`, for both of its stages."""
    return [
        *(["setarch", "linux32"] if job.architecture in ("i386", "arm") else []),
        "flatpak-builder",
        "--verbose",
        "--user",
        "--sandbox",
        "--force-clean",
        "--delete-build-dirs",
        f"--arch={job.architecture}",
        "--state-dir=../state",
        f"--default-branch={BRANCH}",
        # Its mount needs a setuid helper, which the unit forbids; and leaked ones have blocked builders for days.
        "--disable-rofiles-fuse",
        *more,
        "../app",
    ]


def checkout(job: Job) -> list[str]:
    """Check out the commit into `source`."""
    return [str(ROLE / "check-out"), job.repository, job.commit]


def fetch(job: Job, manifest: str, remotes: dict[str, str]) -> list[str]:
    """Look at the manifest, install SDK and runtime, download the sources; runs nothing of the app's."""
    deps = [f"--install-deps-from={name}" for name in remotes]
    return [
        str(ROLE / "build-in-unit"),
        "fetch",
        json.dumps({"app": job.app, "manifest": manifest, "remotes": remotes}, sort_keys=True),
        *flatpak_builder(job, *deps, "--download-only"),
        manifest,
    ]


def build(job: Job, manifest: str) -> list[str]:
    """Build without a network and export into a repository."""
    more = [
        "--disable-download",
        "--disable-updates",
        "--repo=../repo",
        f"--subject={job.subject or job.commit}",
        f"--body={job.app} {job.commit}",
    ]
    return [str(ROLE / "build-in-unit"), "offline", *flatpak_builder(job, *more), manifest]


def check(job: Job) -> list[str]:
    """Check what came out."""
    return [str(ROLE / "build-in-unit"), "offline", str(ROLE / "check-build"), job.app, job.architecture, "../repo"]
