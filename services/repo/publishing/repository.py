"""The OSTree repository that is worked in: clients get its objects and deltas, nothing else of it."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from . import durable, objects, scratch, signature, summary
from . import refs as ref_files
from .command import run
from .settings import Settings

_TITLE, _DEFAULT_BRANCH = "Flathub", "stable"


class Repository:
    """Commands on the repository, and on the scratch repositories of a batch."""

    def __init__(self, settings: Settings, key: str) -> None:
        self._settings = settings
        self._path = settings.repository
        self._key = key

    def _run(self, *argv: str | os.PathLike[str], urgent: Callable[[], bool] | None = None) -> str:
        return run(argv, self._settings.command_timeout_seconds, urgent=urgent)

    def scratch(self, path: Path, parent: Path | None = None) -> Path:
        """An empty archive repository at `path`; what was there is removed. It reads what it lacks from `parent`."""
        shutil.rmtree(path, ignore_errors=True)
        options = {"min-free-space-size": f"{self._settings.min_free_bytes // 1000**2}MB"}
        return scratch.make(path, options | ({"parent": str(parent)} if parent else {}))

    def import_untrusted(self, source: Path, target: Path, refs: list[str]) -> None:
        """Copy refs out of a repository that somebody else made, checking the checksum of every object, and that no
        file has a mode that an application must not have."""
        self._run("ostree", f"--repo={target}", "pull-local", "--untrusted", "--bareuseronly-files", source, *refs)

    def stage(self, path: Path) -> Path:
        """An empty scratch repository for new commits, which knows what is published."""
        return self.scratch(path, parent=self._path)

    def commit(self, source: Path, stage: Path, refs: list[str], subject: str, body: str) -> None:
        """Make signed commits in `stage` from those in `source`, with what is published now as their parents.

        A ref whose content is what is published already gets no commit.
        """
        self._run(
            "flatpak",
            "build-commit-from",
            f"--src-repo={source}",
            "--no-update-summary",
            "--timestamp=NOW",
            f"--subject={subject}",
            f"--body={body}",
            stage,
            *refs,
        )
        made = (ref_files.commit(stage, ref) for ref in refs)
        pairs = [self._signed(stage, commit) for commit in made if commit]
        signature.sign(self._settings, self._key, pairs)

    def _signed(self, repository: Path, commit: str) -> tuple[Path, Path]:
        """A commit's object, and where its signature is."""
        return objects.path(repository, commit, "commit"), objects.path(repository, commit, "commitmeta")

    def verify(self, stage: Path, commit: str) -> None:
        """Check a commit's signature as a client does; raises Unverifiable for one that a client would refuse."""
        signature.verify(self._settings, *self._signed(stage, commit))

    def move(self, stage: Path, refs: list[str]) -> None:
        """Move commits into the repository: objects first, refs in the end."""
        self._remove_torn(refs)
        self._run("ostree", f"--repo={self._path}", "pull-local", stage, *refs)

    def set_refs(self, commits: dict[str, str | None]) -> None:
        """Set each ref to its commit, or remove the one that has none."""
        self._remove_torn(commits)
        for ref, commit in commits.items():
            if commit:
                self._run("ostree", f"--repo={self._path}", "refs", "--force", f"--create={ref}", commit)
            elif self.commits([ref]):
                self._run("ostree", f"--repo={self._path}", "refs", "--delete", ref)

    def _remove_torn(self, refs: Iterable[str]) -> None:
        """Remove those refs that a power cut has left empty: ostree can neither read nor replace them."""
        for ref in refs:
            if ref_files.commit(self._path, ref) == "":
                (self._path / "refs/heads" / ref).unlink()

    def list_applications(self, view: Path, urgent: Callable[[], bool] | None = None) -> None:
        """Bring the appstream branches of a view up to date: a new commit, not signed yet, for each architecture whose
        list changed."""
        self._run("flatpak", "build-update-repo", "--no-update-summary", view, urgent=urgent)

    def sign(self, commits: Iterable[str]) -> None:
        """Sign commits that are in the repository, before a ref names them."""
        pairs = [self._signed(self._path, commit) for commit in commits]
        signature.sign(self._settings, self._key, pairs)
        for _, signatures in pairs:
            durable.sync(signatures)

    def write_refs(self, commits: dict[str, str]) -> None:
        """Set refs to commits that are in the repository, each in one step."""
        for ref, commit in commits.items():
            file = self._path / "refs/heads" / ref
            file.parent.mkdir(parents=True, exist_ok=True)
            durable.write(file, f"{commit}\n", self._path / "tmp" / f"{file.name}.ref")

    def summarise(self) -> None:
        """Make the signed summaries and the indexes of the deltas, in the repository, where no client reads them."""
        self._run(
            "flatpak",
            "build-update-repo",
            f"--title={_TITLE}",
            f"--default-branch={_DEFAULT_BRANCH}",
            "--no-update-appstream",
            self._path,
        )
        summary.sign(self._settings, self._key, self._path)

    def has_summary(self) -> bool:
        return all((self._path / name).exists() for name in ("summary.idx", "summary.idx.sig", "summary.sig"))

    def refs(self) -> dict[str, str]:
        """All refs with their commits."""
        return ref_files.read(self._path)

    def commits(self, refs: list[str]) -> dict[str, str]:
        """What is published for each ref; those that do not exist are left out."""
        found = {ref: ref_files.commit(self._path, ref) for ref in refs}
        return {ref: commit for ref, commit in found.items() if commit}

    def sync(self) -> None:
        """Bring everything on the volume to the disk."""
        self._run("sync", "--file-system", self._path)


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
