"""What a build adds to the list of all applications: flatpak reads it whole, and every client fetches it.

One build must not be able to hold up the list for all others, nor make it unreadable. Builders refuse more than this.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from . import objects
from .job import InvalidJob

_PLACE = ("files", "share", "app-info")
_ICON = re.compile(r"icons/flatpak/[1-9][0-9]{0,3}x[1-9][0-9]{0,3}(@[1-4])?/[^/]+\.png", re.ASCII)
_BASE_XML = re.compile(r"xmls/[^/]+\.xml\.gz")
_MAX_FILES = 1000
_MAX_XML_BYTES = 1024**2
# Readers of XML take some of their stack for each level, and some refuse more than a few hundred.
_MAX_XML_DEPTH = 64
_MAX_ICON_BYTES = 256 * 1024


def check(repository: Path, ref: str, tree: str) -> None:
    """Raise InvalidJob, naming the file, if a commit's tree has more below files/share/app-info than its own XML and
    icons, or if they are too large. Raises objects.Unreadable. That there is nothing is no error."""
    for name in _PLACE:
        found = objects.directory(repository, tree).folders.get(name)
        if not found:
            return
        tree = found
    xml = f"xmls/{ref.split('/')[1]}.xml.gz"
    for count, (path, checksum) in enumerate(_files(repository, tree)):
        try:
            if count >= _MAX_FILES:
                raise ValueError(f"more than {_MAX_FILES} files")
            if path == xml:
                _check_xml(objects.content(repository, checksum, _MAX_XML_BYTES))
            elif _ICON.fullmatch(path):
                objects.content(repository, checksum, _MAX_ICON_BYTES)
            elif _BASE_XML.fullmatch(path) and not path.startswith(f"xmls/{ref.split('/')[1]}"):
                # Of the app that this one is based on; flatpak reads what begins with the app's own name.
                continue
            else:
                raise ValueError(f"expected nothing there but {xml} and icons/flatpak/WIDTHxHEIGHT/NAME.png")
        except (objects.Unreadable, OSError, EOFError, ValueError, zlib.error, expat.ExpatError) as error:
            raise InvalidJob(f"{ref}: {'/'.join(_PLACE)}/{path:.200}: {error}") from None


def _files(repository: Path, tree: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every file below a directory, with its checksum."""
    entries = objects.directory(repository, tree)
    yield from entries.files.items()
    for name, folder in entries.folders.items():
        if depth >= len(_PLACE):
            raise InvalidJob(f"{'/'.join(_PLACE)}: folders in folders, {name!r:.200}")
        for path, checksum in _files(repository, folder, depth + 1):
            yield f"{name}/{path}", checksum


def _check_xml(compressed: bytes) -> None:
    with gzip.open(io.BytesIO(compressed)) as file:
        text = file.read(_MAX_XML_BYTES + 1)
    if len(text) > _MAX_XML_BYTES:
        raise ValueError(f"larger than {_MAX_XML_BYTES} bytes when unpacked")
    depth = 0

    def begin(name: str, _: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_XML_DEPTH:
            raise ValueError(f"elements nested deeper than {_MAX_XML_DEPTH}")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.Parse(text, True)
