"""Which refs a build may bring, and what their metadata must say."""

import configparser
import os
import re
from pathlib import Path

from .command import run
from .job import InvalidJob, Job

_COMMIT = re.compile(r"[0-9a-f]{64}", re.ASCII)


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


def check(job: Job, architecture: str, found: set[str]) -> list[str]:
    """The refs of one architecture, sorted. Raises InvalidJob if one is missing or not the job's own."""
    needed, allowed = expected(job, architecture)
    if needed not in found:
        raise InvalidJob(f"{architecture}: the ref {needed} is missing; found {sorted(found)}")
    foreign = sorted(found - allowed - {needed})
    if foreign:
        raise InvalidJob(f"{architecture}: refs that are not this build's: {', '.join(foreign)}")
    return sorted(found)


def check_metadata(repository: Path, ref: str) -> None:
    """The commit's own metadata must name what its ref names. Raises InvalidJob."""
    kind, name = ref.split("/")[:2]
    group = {"app": "Application", "runtime": "Runtime"}[kind]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(run(["ostree", f"--repo={repository}", "cat", ref, "/metadata"]))
    except configparser.Error as error:
        raise InvalidJob(f"{ref}: its metadata can't be read: {error}") from None
    said = parser.get(group, "name", fallback=None)
    if said != name:
        raise InvalidJob(f"{ref}: its metadata says [{group}] name={said}, expected {name}")
