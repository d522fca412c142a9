"""What clients read and what changes: summaries, refs and the configuration, in numbered directories.

A directory is made beside the others, verified, and then switched to by one rename of the link `current`, so that a
client sees all of the old or all of the new. The one before is kept whole. Those before it are kept for a while
without their refs, for what their summaries name; their signatures and summaries are in the current one as well.
"""

import json
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import deltas, durable, objects, summary
from .deltas import Delta
from .repository import Repository
from .settings import Settings
from .signature import Unverifiable
from .step import step

_FILES = ("summary", "summary.sig", "summary.idx", "summary.idx.sig", "config")
_MANIFEST = ".refs.json"
_SPARE = "spare"


class Served:
    """The served directories of a repository."""

    def __init__(self, settings: Settings, repository: Repository) -> None:
        self._settings, self._repository = settings, repository
        self._path = settings.served

    def numbers(self) -> list[int]:
        """The directories that are or were served, the newest first. One beyond the current one was never served."""
        current = self.current()
        newest = int(current.name) if current else 0
        found = (int(entry.name) for entry in self._path.iterdir() if entry.name.isdecimal())
        return sorted((number for number in found if number <= newest), reverse=True)

    def current(self) -> Path | None:
        """The directory that clients read now."""
        link = self._path / "current"
        return link.resolve() if link.exists() else None

    def refs(self, directory: Path | None = None) -> dict[str, str]:
        """What a served directory, or the current one, says of each ref; empty if nothing is served."""
        place = directory or self.current()
        return json.loads((place / _MANIFEST).read_text()) if place else {}

    def named(self) -> set[str]:
        """All commits that a kept directory names."""
        return {commit for number in self.numbers() for commit in self.refs(self._path / str(number)).values()}

    def publish(self, expected: dict[str, str | None] | None = None, wanted: Sequence[Delta] = ()) -> None:
        """Make the summaries anew, and beside that the deltas that are `wanted`, and switch to them.

        Raises Unverifiable, and nothing changes for clients, if they are not right, or do not name what is `expected`
        of some refs (None: nothing).
        """
        with ThreadPoolExecutor(max_workers=1) as pool:
            made = pool.submit(self._make, wanted)
            with step("summary"):
                self._repository.summarise()
            made.result()
        with step("delta indexes"):
            # Those that were ready in time are in the indexes that came with the summary.
            deltas.index_missing(self._settings, wanted)
        self.serve(expected or {})

    def _make(self, wanted: Sequence[Delta]) -> None:
        if wanted:
            with step("deltas"):
                deltas.generate(self._settings, wanted)

    def serve(self, expected: dict[str, str | None]) -> None:
        """Switch to the summaries that are in the repository."""
        with step("prepare"):
            index = summary.read_index(self._settings.repository)
            number = max([*self.numbers(), 0]) + 1
            new, refs = self._prepare(number, index)
        with step("check"):
            self._check(new, index, refs, expected)
            self._repository.sync()
        with step("switch"):
            directory = self._path / str(number)
            new.rename(directory)
            link = self._path / ".current.new"
            link.unlink(missing_ok=True)
            link.symlink_to(directory.name)
            link.rename(self._path / "current")
            durable.sync(self._path)

    def _prepare(self, number: int, index: summary.Index) -> tuple[Path, dict[str, str]]:
        new = self._path / f"{number}.new"
        for left in (new, self._path / str(number)):
            # Of a run that was killed; its refs may be half done.
            if left.exists():
                shutil.rmtree(left)
        new.mkdir(mode=0o755)
        repository = self._settings.repository
        for name in _FILES:
            shutil.copyfile(repository / name, new / name)
        # These are named by what is in them and never change: a link is enough.
        summaries = new / "summaries"
        summaries.mkdir()
        for file in (repository / "summaries").iterdir():
            os.link(file, summaries / file.name)
        self._keep_summaries(summaries)
        refs = summary.read_refs(new, index)
        self._write_refs(new, refs)
        (new / _MANIFEST).write_text(json.dumps(refs))
        return new, refs

    def _keep_summaries(self, summaries: Path) -> None:
        """What clients need that have the index of a directory still kept."""
        current, needed = self.current(), set()
        for number in self.numbers()[: self._settings.served_directories]:
            needed |= summary.read_index(self._path / str(number)).checksums
        for file in (current / "summaries").iterdir() if current else ():
            target = summaries / file.name
            if file.name.partition(".")[0].rpartition("-")[2] in needed and not target.exists():
                os.link(file, target)

    def _donor(self) -> tuple[Path, dict[str, str]] | None:
        """A directory that is not served any more and has a tree of refs, and what they name: at thousands of refs it
        is much faster to change what differs than to make them all."""
        for path in (self._path / _SPARE, *(self._path / str(number) for number in self.numbers()[2:])):
            try:
                if (path / "refs").exists():
                    return path, self.refs(path)
            except (OSError, ValueError):
                # What it names is not known: cut off by a power cut, or never written.
                continue
        return None

    def _write_refs(self, new: Path, refs: dict[str, str]) -> None:
        donor, before = self._donor() or (None, {})
        heads = new / "refs/heads"
        if donor:
            (donor / "refs").rename(new / "refs")
        heads.mkdir(parents=True, exist_ok=True)
        for ref in before.keys() - refs.keys():
            (heads / ref).unlink(missing_ok=True)
        for ref, commit in refs.items():
            if before.get(ref) != commit:
                file = heads / ref
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"{commit}\n")

    def _check(self, new: Path, index: summary.Index, refs: dict[str, str], expected: dict[str, str | None]) -> None:
        """All that a client verifies, and that everything it is then told to fetch is there, of what is new."""
        summary.verify(self._settings, new, index)
        for ref, commit in expected.items():
            if refs.get(ref) != commit:
                raise Unverifiable(f"the summary names {refs.get(ref)} for {ref}, expected {commit}")
        before, repository = self.refs(), self._settings.repository
        for ref, commit in refs.items():
            if before.get(ref) == commit:
                continue
            partial = repository / "state" / f"{commit}.commitpartial"
            for kind in ("commit", "commitmeta"):
                if not objects.path(repository, commit, kind).exists() or partial.exists():
                    raise Unverifiable(f"{ref}: {commit}.{kind} is missing or its tree is not complete")
            deltas.check_index(repository, commit)

    def retire(self) -> None:
        """Remove the directories that nobody is told of any more, and what runs that were killed left."""
        with step("retire"):
            self._remove_unfinished()
            numbers, now = self.numbers(), time.time()
            spared, _ = self._donor() or (None, {})
            for position in range(len(numbers) - 1, 1, -1):
                directory, successor = self._path / str(numbers[position]), self._path / str(numbers[position - 1])
                old = (successor / _MANIFEST).stat().st_mtime + self._settings.served_grace_seconds < now
                if (old or position >= self._settings.served_directories) and directory != spared:
                    # A number is a whole directory.
                    directory.rename(self._path / f"{directory.name}.new")
            self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        for entry in self._path.glob("*.new"):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)

    def spare(self) -> bool:
        """Make a tree of refs for the next directory if none is there to be changed; returns whether it did."""
        if self._donor() or not self.current():
            return False
        with step("spare refs"):
            refs, new, spare = self.refs(), self._path / f"{_SPARE}.new", self._path / _SPARE
            for path in (new, spare):
                shutil.rmtree(path, ignore_errors=True)
            new.mkdir()
            self._write_refs(new, refs)
            (new / _MANIFEST).write_text(json.dumps(refs))
            # What is not changed in it later is served as it is.
            self._repository.sync()
            new.rename(spare)
        return True
