"""Which refs a build may bring, and what their metadata must say."""

import configparser
import os
import re
from pathlib import Path

from . import catalogue, gvariant, objects
from .job import InvalidJob, Job

_COMMIT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEXTS = ("xa.ref", "xa.metadata", "ostree.collection-binding")
_MAX_METADATA_BYTES = 1024**2
# Of the names in an error's text.
_NAMED = 5


def expected(job: Job, architecture: str) -> tuple[str, frozenset[str]]:
    """The ref that must be there, and those that may be there beside it."""
    # flatpak-builder names extensions with '_' where the application's ID has '-'.
    prefix = job.app.replace("-", "_")
    extensions = frozenset(f"runtime/{prefix}.{kind}/{architecture}/{job.branch}" for kind in ("Debug", "Locale"))
    return f"app/{job.app}/{architecture}/{job.branch}", extensions


def read(repository: Path) -> dict[str, str]:
    """All refs of a repository, name to commit; symbolic links are not followed."""
    heads, refs = repository / "refs/heads", {}
    for directory, _, names in os.walk(heads):
        for name in names:
            path = Path(directory, name)
            commit = "" if path.is_symlink() or path.stat().st_size > 100 else path.read_text().strip()
            ref = str(path.relative_to(heads))
            if not _COMMIT.fullmatch(commit):
                raise InvalidJob(f"ref {ref} is not a commit's checksum")
            refs[ref] = commit
    return refs


def commit(repository: Path, ref: str) -> str | None:
    """What one ref of a repository of our own names; None if there is no such ref."""
    try:
        return (repository / "refs/heads" / ref).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def check(job: Job, architecture: str, found: set[str]) -> list[str]:
    """The refs of one architecture, sorted. Raises InvalidJob if one is missing or not the job's own."""
    needed, allowed = expected(job, architecture)
    if needed not in found:
        raise InvalidJob(f"{architecture}: the ref {needed} is missing; found {_first(found)}")
    foreign = found - allowed - {needed}
    if foreign:
        raise InvalidJob(f"{architecture}: refs that are not this build's: {_first(foreign)}")
    return sorted(found)


def _first(refs: set[str]) -> str:
    names = ", ".join(sorted(refs)[:_NAMED]) or "none"
    return f"{names}, and {len(refs) - _NAMED} more" if len(refs) > _NAMED else names


def check_commit(repository: Path, ref: str, checksum: str) -> objects.Commit:
    """The commit must say of itself what its ref names. Raises InvalidJob."""
    try:
        found = objects.commit(repository, checksum)
        file = objects.directory(repository, found.tree).files.get("metadata")
        if not file:
            raise objects.Unreadable("there is no file metadata at the root")
        metadata = objects.content(repository, file, _MAX_METADATA_BYTES)
        _check_metadata(ref, metadata.decode())
        catalogue.check(repository, ref, found.tree)
        bindings = found.metadata.get("ostree.ref-binding")
        names = [bindings[index].text() for index in range(len(bindings))] if bindings else []
        texts = {key: found.metadata[key].text() if key in found.metadata else "" for key in _TEXTS}
    except (objects.Unreadable, gvariant.Malformed, UnicodeDecodeError) as error:
        raise InvalidJob(f"{ref}: its commit can't be read: {error}") from None
    if names != [ref]:
        raise InvalidJob(f"{ref}: its commit is bound to {names!r:.200}, expected to [{ref!r}]")
    if texts["xa.ref"] not in ("", ref):
        raise InvalidJob(f"{ref}: its commit says xa.ref={texts['xa.ref']!r:.200}")
    if texts["ostree.collection-binding"]:
        raise InvalidJob(
            f"{ref}: its commit is of a collection, {texts['ostree.collection-binding']!r:.200}; none wanted"
        )
    if texts["xa.metadata"] != metadata.decode():
        # A client shows permissions from the commit, and runs with those of the file.
        raise InvalidJob(f"{ref}: xa.metadata of its commit is not what its file /metadata holds")
    return found


def _check_metadata(ref: str, text: str) -> None:
    kind, name, architecture, _ = ref.split("/")
    group = {"app": "Application", "runtime": "Runtime"}[kind]
    # As GLib reads it, for whom "DEFAULT" is no special group, and the case of a key counts.
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",), default_section="\0"
    )  # fmt: skip
    parser.optionxform = str
    try:
        if any(line[0].isspace() and line.strip() for line in text.split("\n") if line):
            # A line that goes on, or a line of its own: readers differ.
            raise configparser.Error("a line begins with a blank")
        parser.read_string(text)
    except configparser.Error as error:
        raise InvalidJob(f"{ref}: its metadata can't be read: {error!s:.200}") from None
    said = parser.get(group, "name", fallback=None)
    if said != name:
        raise InvalidJob(f"{ref}: its metadata says [{group}] name={said!r:.200}, expected {name}")
    runtime = parser.get(group, "runtime", fallback="")
    if kind == "app" and runtime.split("/")[1:2] != [architecture]:
        raise InvalidJob(f"{ref}: its metadata says runtime={runtime!r:.200}, expected one for {architecture}")
