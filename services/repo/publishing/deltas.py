"""Static deltas: one download in place of thousands, for who installs and for who updates."""

import base64
import hashlib
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import durable, gvariant
from .command import CommandFailed, run
from .settings import Settings
from .signature import Unverifiable

# The summary is made at the same time, and is what everybody waits for.
_BEHIND = ("nice", "-n", "10")


@dataclass(frozen=True)
class Policy:
    """Which deltas a new commit of a ref gets."""

    from_scratch: bool
    from_parent: bool


def policy(ref: str) -> Policy:
    """The policy for a ref.

    Of extensions with translations a client takes a part only, and of those with debugging symbols or sources hardly
    any client takes anything: a delta would be of no use to them.
    """
    if ref.startswith("app/"):
        return Policy(from_scratch=True, from_parent=True)
    if ref.startswith("runtime/") and ref.split("/")[1].rpartition(".")[2] not in ("Locale", "Debug", "Sources"):
        return Policy(from_scratch=True, from_parent=True)
    return Policy(from_scratch=False, from_parent=False)


@dataclass(frozen=True)
class Delta:
    """From a commit, or from nothing, to a commit."""

    start: str | None
    end: str

    @property
    def name(self) -> str:
        """Its directory below deltas/."""
        joined = f"{_encode(self.start)}-{_encode(self.end)}" if self.start else _encode(self.end)
        return f"{joined[:2]}/{joined[2:]}"


def _encode(commit: str) -> str:
    """A checksum in OSTree's form of base64, which has no slash."""
    return base64.b64encode(bytes.fromhex(commit)).decode().rstrip("=").replace("/", "_")


def _decode(text: str) -> str:
    return base64.b64decode(text.replace("_", "/") + "=", validate=True).hex()


def wanted(moves: dict[str, tuple[str | None, str]]) -> list[Delta]:
    """The deltas that the refs' moves from one commit to another ask for, those of use to most first."""
    found = []
    for ref, (old, new) in sorted(moves.items()):
        rule = policy(ref)
        if rule.from_scratch:
            found.append(Delta(None, new))
        if rule.from_parent and old and old != new:
            found.append(Delta(old, new))
    return found


def generate(settings: Settings, deltas: Iterable[Delta], urgent: Callable[[], bool] | None = None) -> None:
    """Make those deltas that are not there, a few at once, each in a process of its own. One that fails or takes too long
    is done without: clients then get the objects one by one. Raises Interrupted when `urgent` says so."""
    new = settings.repository / "tmp/deltas"
    # Of a run that was killed.
    shutil.rmtree(new, ignore_errors=True)

    def make(delta: Delta) -> None:
        try:
            if not exists(settings.repository, delta):
                _make(settings, delta, new / delta.name.replace("/", ""), urgent)
        except (CommandFailed, OSError) as error:
            print(f"without the static delta {delta.start or 'from scratch'} to {delta.end}: {error}", flush=True)

    with ThreadPoolExecutor(max_workers=settings.delta_jobs) as pool:
        futures = [pool.submit(make, delta) for delta in deltas]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()


def _make(settings: Settings, delta: Delta, new: Path, urgent: Callable[[], bool] | None) -> None:
    """Make a delta in the directory `new`, and put it in its place once it is on the disk: ostree itself leaves it to
    the next sync, and its parts are not looked at again before clients read them."""
    new.mkdir(parents=True)
    run(
        [
            *_BEHIND,
            "ostree", f"--repo={settings.repository}", "static-delta", "generate", f"--filename={new / 'superblock'}",
            f"--from={delta.start}" if delta.start else "--empty", f"--to={delta.end}",
            # As flatpak does: files of a megabyte and more are fetched as objects.
            "--min-fallback-size=1",
            # Comparing two files takes many times their size in memory.
            "--max-bsdiff-size=16",
        ],
        settings.delta_timeout_seconds,
        urgent=urgent,
    )  # fmt: skip
    for path in (*new.iterdir(), new):
        durable.sync(path)
    directory = settings.repository / "deltas" / delta.name
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.exists():
        # Without a superblock it is none.
        shutil.rmtree(directory)
    new.rename(directory)


def exists(repository: Path, delta: Delta) -> bool:
    return (repository / "deltas" / delta.name / "superblock").exists()


def _indexed(repository: Path, commit: str) -> dict[Delta, bytes]:
    """The deltas that the index of those to a commit names, with the SHA-256 of each one's superblock."""
    name = _encode(commit)
    try:
        data = (repository / "delta-indexes" / name[:2] / f"{name[2:]}.index").read_bytes()
    except FileNotFoundError:
        return {}
    named = gvariant.read("a{sv}", data).dictionary()["ostree.static-deltas"].dictionary()
    ends = ((name.rpartition("-"), checksum) for name, checksum in named.items())
    return {Delta(start or None, end): checksum.bytes() for (start, _, end), checksum in ends}


def check_index(repository: Path, commit: str) -> None:
    """Raise Unverifiable if the index of the deltas to a commit names one that is not there, or another one."""
    try:
        for delta, checksum in _indexed(repository, commit).items():
            superblock = repository / "deltas" / delta.name / "superblock"
            if hashlib.sha256(superblock.read_bytes()).digest() != checksum:
                raise Unverifiable(f"{superblock}: not the one that the index of {commit} names")
    except (OSError, KeyError, ValueError) as error:
        raise Unverifiable(f"the index of the deltas to {commit}: {error}") from None


def _is_indexed(repository: Path, delta: Delta) -> bool:
    try:
        return delta in _indexed(repository, delta.end)
    except (KeyError, ValueError):
        # Cut off by a power cut.
        return False


def index_missing(settings: Settings, made: Iterable[Delta]) -> None:
    """Tell clients of those deltas that are there, but in no index yet."""
    repository = settings.repository
    lacking = {d.end for d in made if exists(repository, d) and not _is_indexed(repository, d)}
    with ThreadPoolExecutor(max_workers=settings.delta_jobs) as pool:
        list(pool.map(lambda commit: index(repository, commit), sorted(lacking)))


def index(repository: Path, commit: str) -> None:
    """Tell clients, in the index of the deltas to a commit, of all that are there."""
    run(["ostree", f"--repo={repository}", "static-delta", "reindex", f"--to={commit}"])


def drop(repository: Path, needed: set[str]) -> int:
    """Remove the deltas whose target is none of the `needed` commits, and their indexes first; returns how many."""
    for file in (repository / "delta-indexes").glob("*/*.index"):
        if _decode(file.parent.name + file.name.removesuffix(".index")) not in needed:
            file.unlink()
    count = 0
    for directory in (repository / "deltas").glob("*/*"):
        end = (directory.parent.name + directory.name).rpartition("-")[2]
        if _decode(end) not in needed:
            shutil.rmtree(directory)
            count += 1
    return count
