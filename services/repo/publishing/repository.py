"""The OSTree repository that clients install from."""

import os
import shutil
from pathlib import Path

from .command import run
from .settings import Settings


class Repository:
    """Commands on the repository, and on the scratch repositories of one job."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._settings = settings
        self._gpg = (f"--gpg-sign={key}", f"--gpg-homedir={settings.keyring}")

    def _run(self, *argv: str | os.PathLike[str]) -> str:
        return run(argv, self._settings.command_timeout_seconds)

    def scratch(self, path: Path) -> Path:
        """An empty archive repository at `path`; what was there is removed."""
        shutil.rmtree(path, ignore_errors=True)
        self._run("ostree", f"--repo={path}", "init", "--mode=archive")
        return path

    def import_untrusted(self, source: Path, target: Path, refs: list[str]) -> None:
        """Copy refs out of a repository that somebody else made, checking the checksum of every object, and that no
        file has a mode that an application must not have."""
        self._run("ostree", f"--repo={target}", "pull-local", "--untrusted", "--bareuseronly-files", source, *refs)
        self._run("ostree", f"--repo={target}", "fsck", "--quiet")

    def commit(self, source: Path, stage: Path, refs: list[str], subject: str, body: str) -> None:
        """Make signed commits in `stage` from those in `source`, with what is published now as their parents.

        A ref whose content is what is published already keeps its commit.
        """
        published = set(self.refs())
        parents = self.commits([ref for ref in refs if ref in published])
        if parents:
            # By checksum: a pull by name reads the summary, which is older than the refs after a publish was killed.
            repository = self._settings.repository
            self._run("ostree", f"--repo={stage}", "pull-local", repository, *sorted(set(parents.values())))
            for ref, parent in parents.items():
                self._run("ostree", f"--repo={stage}", "refs", f"--create={ref}", parent)
        self._run(
            "flatpak",
            "build-commit-from",
            f"--src-repo={source}",
            "--no-update-summary",
            "--timestamp=NOW",
            f"--subject={subject}",
            f"--body={body}",
            *self._gpg,
            stage,
            *refs,
        )

    def verify(self, stage: Path, refs: list[str], scratch: Path) -> None:
        """Check the signatures as a client does; raises CommandFailed for a commit that a client would refuse."""
        self.scratch(scratch)
        self._run(
            "ostree", f"--repo={scratch}", "remote", "add", f"--gpg-import={self._settings.public_key}",
            "stage", stage.absolute().as_uri(),
        )  # fmt: skip
        self._run("ostree", f"--repo={scratch}", "pull", "--commit-metadata-only", "stage", *refs)

    def publish(self, stage: Path, refs: list[str]) -> None:
        """Move commits into the repository: objects first, refs in the end."""
        self._run("ostree", f"--repo={self._settings.repository}", "pull-local", stage, *refs)

    def update(self) -> None:
        """Make static deltas, appstream branches and summary, signed: what a client sees from here on."""
        self._run(
            "flatpak",
            "build-update-repo",
            "--title=Flathub",
            "--default-branch=stable",
            "--generate-static-deltas",
            # As many as processors by default, and each holds its files in memory.
            "--static-delta-jobs=1",
            *self._gpg,
            self._settings.repository,
        )

    def has_summary(self) -> bool:
        return all((self._settings.repository / name).exists() for name in ("summary", "summary.sig"))

    def refs(self) -> list[str]:
        return self._run("ostree", f"--repo={self._settings.repository}", "refs").split()

    def commits(self, refs: list[str]) -> dict[str, str]:
        """What is published for each ref."""
        return {
            ref: self._run("ostree", f"--repo={self._settings.repository}", "rev-parse", ref).strip() for ref in refs
        }


def initialise(settings: Settings) -> None:
    """Make the repository, or bring the options of the one that is there up to date; repeatable.

    Its objects are served as they are, so the mode is archive. It has no collection ID: clients have never had one.
    """
    user, repo = settings.as_user("publisher"), f"--repo={settings.repository}"
    run([*user, "ostree", repo, "init", "--mode=archive"])
    options = {
        # ostree's own limit is 3 % of the volume.
        "core.min-free-space-percent": "0",
        "core.min-free-space-size": f"{settings.min_free_bytes // 1000**2}MB",
        # Wait for a lock as long as it takes; the publisher's commands have a deadline of their own.
        "core.lock-timeout-secs": "-1",
    }
    for name, value in options.items():
        run([*user, "ostree", repo, "config", "set", "--", name, value])
