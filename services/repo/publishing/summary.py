"""The summaries of a repository: its index names one for each architecture, by the checksum of its content."""

import gzip
import hashlib
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

from . import gvariant, signature
from .settings import Settings
from .signature import Unverifiable

_INDEX = "(a{s(ayaaya{sv})}a{sv})"
_SUMMARY = "(a(s(taya{sv}))a{sv})"
SIGNED = ("summary", "summary.idx")


@dataclass(frozen=True)
class Index:
    """summary.idx: its checksum, and the checksum of each architecture's summary."""

    checksum: str
    summaries: dict[str, str]

    @property
    def checksums(self) -> set[str]:
        """Of everything that is named by a checksum for this index."""
        return {self.checksum, *self.summaries.values()}


def read_index(directory: Path) -> Index:
    """Read a directory's summary.idx. Raises Unverifiable."""
    try:
        data = (directory / "summary.idx").read_bytes()
        members = gvariant.read(_INDEX, data)[0].dictionary()
        return Index(
            hashlib.sha256(data).hexdigest(), {name: value[0].bytes().hex() for name, value in members.items()}
        )
    except (OSError, gvariant.Malformed) as error:
        raise Unverifiable(f"{directory}/summary.idx: {error}") from None


def sign(settings: Settings, key: str, directory: Path) -> None:
    """Sign a directory's summary and summary.idx, for each name that a client looks for."""
    signature.sign(settings, key, [(directory / name, directory / f"{name}.sig") for name in SIGNED])
    named = directory / "summaries" / f"{read_index(directory).checksum}.idx.sig"
    # A repository without refs has none yet.
    named.parent.mkdir(exist_ok=True)
    named.unlink(missing_ok=True)
    shutil.copyfile(directory / "summary.idx.sig", named)


def read_refs(directory: Path, index: Index) -> dict[str, str]:
    """All refs that an index names, with their commits. Raises Unverifiable for a summary that is missing, or whose
    content has another checksum than the index says."""
    found: dict[str, str] = {}
    for checksum in index.summaries.values():
        file = directory / "summaries" / f"{checksum}.gz"
        try:
            data = gzip.decompress(file.read_bytes())
            if hashlib.sha256(data).hexdigest() != checksum:
                raise Unverifiable(f"{file}: its content has another checksum")
            refs = gvariant.read(_SUMMARY, data)[0]
            for number in range(len(refs)):
                entry = refs[number]
                found[entry[0].text()] = entry[1][1].bytes().hex()
        except (OSError, EOFError, zlib.error, gvariant.Malformed) as error:
            raise Unverifiable(f"{file}: {error}") from None
    return found


def verify(settings: Settings, directory: Path, index: Index) -> None:
    """Check the signatures of a directory's summary and summary.idx as a client does, under each name that a client
    finds them by. Raises Unverifiable."""
    named = directory / "summaries" / f"{index.checksum}.idx.sig"
    if not named.exists() or named.read_bytes() != (directory / "summary.idx.sig").read_bytes():
        raise Unverifiable(f"{named} is not the signature of summary.idx")
    for name in SIGNED:
        signature.verify(settings, directory / name, directory / f"{name}.sig")
