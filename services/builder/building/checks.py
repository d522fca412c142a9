"""What an app must be before it leaves the builder; docs/checks.md tells maintainers.

Everything here was made by strangers' code, so this runs as `build`, in a unit with neither network nor privileges,
opens plain files only, and reads no more of one than it needs. All faults are reported at once.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from .job import BRANCH

RELATED = ("Debug", "Locale", "Sources")
"""What flatpak-builder makes beside an app, as runtime/APP.KIND."""

PLACES = (
    "share/applications",
    "share/icons/hicolor",
    "share/metainfo",
    "share/appdata",
    "share/dbus-1/services",
    "share/gnome-shell/search-providers",
    "share/krunner/dbusplugins",
    "share/mime/packages",
)
"""Folders that flatpak exports into a user's session."""

RULES = (
    "repository",
    "refs",
    "metadata",
    "modes",
    "exports",
    "metainfo",
    "appstream",
    "desktop-file",
    "icon",
    "dbus",
    "catalogue",
)
"""The names that a fault ends with."""

LISTED = "files/share/app-info"
"""What `flatpak build-update-repo` copies from here, of any ref, goes into the list that every client fetches."""

LISTED_ICON_FOLDERS = ("48x48", "48x48@2", "64x64", "64x64@2", "128x128", "128x128@2")
"""What appstreamcli composes icons for."""

COMPONENT_TYPES = ("desktop", "desktop-application", "console-application")
MAX_TEXT_BYTES = 4 * 1024**2
MAX_METADATA_BYTES = 64 * 1024
"""Of a commit: the summary, which every client fetches, repeats it."""

MAX_CATALOGUE_BYTES = 1024**2
"""Unpacked."""

MAX_COMPONENTS = 8
MAX_LISTED_ICON_BYTES = 256 * 1024
MAX_XML_DEPTH = 64
"""flatpak takes a level of its stack for each."""

MIN_ICON_PIXELS = 128
MAX_ICON_PIXELS = 512
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})(?:@([1-4]))?", re.ASCII)
_SVG = "{http://www.w3.org/2000/svg}svg"
_GROUP = re.compile(r"\[([^][]+)\][ \t]*")
_PAIR = re.compile(r"([^][=]*[^][= \t](?:\[[^][=]*\])?)[ \t]*=[ \t]*(.*)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]+")


class Unreadable(Exception):
    """A file that can't be read as what it should be; the text says why."""


@dataclass
class Report:
    """All that was found: ``faults`` are lines of file, what is wrong and rule; ``notes`` fail nothing."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, file: object, message: str, rule: str) -> None:
        """Add a fault. What strangers named is printed on one line."""
        if rule not in RULES:
            raise KeyError(rule)
        self.faults.append("".join(c if c.isprintable() else "?" for c in f"{file}: {message} [{rule}]")[:1000])


def ostree(repo: Path, *arguments: str, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """What ostree prints about a repository. Raises Unreadable with what it complains about, or if it is too much."""
    # Complaints go to a file: a pipe that nobody reads yet would hold up one who complains much.
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            ["ostree", f"--repo={repo}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        ) as process,
    ):
        assert process.stdout is not None
        printed = process.stdout.read(max_bytes + 1)
        if len(printed) > max_bytes:
            process.kill()
            raise Unreadable(f"more than {max_bytes} bytes")
        process.wait()
        complaints.seek(0)
        complaint = complaints.read(4096).decode(errors="replace").strip()
    if process.returncode != 0:
        raise Unreadable(complaint or f"ostree {arguments[0]}: exit status {process.returncode}")
    return printed


def belongs(name: str, app: str) -> bool:
    """Whether flatpak takes a name for one of the app's: the id, alone or followed by what can't be part of an id."""
    return name == app or (name.startswith(app) and re.match(r"[A-Za-z0-9_]", name[len(app) :]) is None)


def check_repository(repo: Path, app: str, architecture: str) -> Report:
    """Check what a build made."""
    report = Report()
    check_plain(report, repo)
    if report.faults:
        return report
    refs = check_refs(report, repo, app, architecture)
    if not refs:
        return report
    try:
        ostree(repo, "fsck", "--quiet")
    except Unreadable as error:
        report.fault("repo", f"is damaged: {error}", "repository")
        return report
    required = f"app/{app}/{architecture}/{BRANCH}"
    listed: list[Listed] = []
    for ref in sorted(refs):
        try:
            found = check_commit(report, repo, ref, architecture)
        except Unreadable as error:
            report.fault(ref, f"can't be read: {error}", "repository")
            continue
        if ref == required:
            listed = found
            continue
        for file in found:
            report.fault(f"{ref} {file.path}", "only the app itself can be in the list of apps", "catalogue")
    if required in refs:
        with tempfile.TemporaryDirectory(prefix="check-", dir=repo.parent) as folder:
            exported = Path(folder, "export")
            try:
                ostree(repo, "checkout", "--user-mode", "--force-copy", "--subpath=/export", required, str(exported))
            except Unreadable as error:
                # The repository is whole, so there is no such folder; every file that must be in it is missing.
                report.notes.append(f"export: nothing is exported: {error}")
                exported.mkdir(exist_ok=True)
            component = check_exports(report, exported, app)
        check_listed(report, repo, required, app, listed)
        check_catalogue(report, repo, required, app, component)
    return report


def check_plain(report: Report, repo: Path) -> None:
    """A repository in archive mode is folders and plain files, and has all that it names."""
    if repo.is_symlink() or not repo.is_dir():
        report.fault(repo.name, "the build made no repository", "repository")
        return
    for folder, folders, files in os.walk(repo):
        for name in folders + files:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                report.fault(path.relative_to(repo.parent), "neither a folder nor a plain file", "repository")
    if report.faults:
        return
    try:
        core = key_file(read_plain(repo / "config")).get("core", {})
    except Unreadable as error:
        report.fault("repo/config", str(error), "repository")
        return
    if core.get("mode") not in ("archive", "archive-z2"):
        report.fault("repo/config", f"[core] mode is {core.get('mode')!r:.100}; expected 'archive-z2'", "repository")
    if "parent" in core:
        report.fault("repo/config", "[core] parent is set; the repository must hold all of its objects", "repository")


def check_refs(report: Report, repo: Path, app: str, architecture: str) -> set[str]:
    """Nothing but the app's own refs of this architecture and branch; returns those that are there."""
    folder = repo / "refs"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    required = f"heads/app/{app}/{architecture}/{BRANCH}"
    allowed = {required, *(f"heads/runtime/{app}.{kind}/{architecture}/{BRANCH}" for kind in RELATED)}
    for ref in sorted(found - allowed):
        report.fault(ref.removeprefix("heads/"), f"not a ref of {app} for {architecture} and branch {BRANCH}", "refs")
    if required not in found:
        report.fault(required.removeprefix("heads/"), "the build made no such ref", "refs")
    return {ref.removeprefix("heads/") for ref in found & allowed}


@dataclass(frozen=True)
class Listed:
    """A file, link or the like below `files/share/app-info`: its path in the commit, and its bytes if it is plain."""

    path: str
    size: int | None


def check_commit(report: Report, repo: Path, ref: str, architecture: str) -> list[Listed]:
    """A commit says what its ref says, and holds no file that runs with more rights than its user's.

    Returns what it has for the list of apps.
    """
    kind, name = ref.split("/")[:2]
    inner = ostree(repo, "cat", ref, "/metadata")
    if len(inner) > MAX_METADATA_BYTES:
        report.fault(f"{ref} /metadata", f"{len(inner)} bytes; expected at most {MAX_METADATA_BYTES}", "metadata")
    try:
        outer = ast.literal_eval(ostree(repo, "show", "--print-metadata-key=xa.metadata", ref).decode(errors="replace"))
    except (SyntaxError, ValueError, RecursionError, Unreadable):
        outer = None
    # Installing is refused if these differ.
    if not isinstance(outer, str) or outer.encode(errors="replace") != inner:
        report.fault(f"{ref} /metadata", "differs from what the commit itself says (xa.metadata)", "metadata")
    try:
        metadata = key_file(inner)
    except Unreadable as error:
        report.fault(f"{ref} /metadata", str(error), "metadata")
        return []
    group = "Application" if kind == "app" else "Runtime"
    stated = metadata.get(group, {}).get("name", "")
    if stated != name:
        report.fault(f"{ref} /metadata", f"[{group}] name is {stated!r:.100}; expected {name!r}", "metadata")
    for key in ("runtime", "sdk"):
        value = metadata.get(group, {}).get(key, "")
        if kind == "app" and (value.count("/") != 2 or value.split("/")[1] != architecture):
            expected = f"NAME/{architecture}/BRANCH"
            report.fault(f"{ref} /metadata", f"[{group}] {key} is {value!r:.100}; expected {expected}", "metadata")
    listed = []
    # A line for each file, which begins with its kind and mode; a name with a newline can add lines, but hide none.
    for line in ostree(repo, "ls", "--recursive", ref, max_bytes=256 * 1024**2).decode(errors="replace").split("\n"):
        match = re.fullmatch(r"([-dl])(0[0-7]{4}|[0-7]{5}) +[0-9]+ +[0-9]+ +([0-9]+) (/.*)", line)
        if not match:
            continue
        if int(match[2], 8) & 0o6000:
            report.fault(f"{ref} {match[4]}", f"is setuid or setgid (mode {int(match[2], 8):04o})", "modes")
        if match[4].startswith(f"/{LISTED}/") and match[1] != "d":
            listed.append(Listed(match[4], int(match[3]) if match[1] == "-" else None))
    return listed


def key_file(content: bytes) -> dict[str, dict[str, str]]:
    """A key file's groups: metadata, desktop entries, D-Bus services, a repository's configuration.

    Everybody who reads these uses GLib, so whatever that may understand in another way is not a key file here.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not a key file: {error}") from None
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] | None = None
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if line.lstrip(" \t")[:1] in ("", "#"):
            continue
        if line[0] in " \t":
            raise Unreadable(f"not a key file: line {number} begins with a blank")
        if _CONTROL.search(line):
            raise Unreadable(f"not a key file: line {number} has a control character")
        if match := _GROUP.fullmatch(line):
            if match[1] in groups:
                raise Unreadable(f"not a key file: line {number} has the group {match[1]!r:.100} again")
            group = groups[match[1]] = {}
        elif (match := _PAIR.fullmatch(line)) and group is not None:
            if match[1] in group:
                raise Unreadable(f"not a key file: line {number} has the key {match[1]!r:.100} again")
            group[match[1]] = match[2]
        else:
            raise Unreadable(f"not a key file: line {number} is neither a group, a key of a group nor a comment")
    return groups


def read_plain(path: Path) -> bytes:
    """A small plain file's content. Raises Unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(error.strerror or "can't be opened") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("not a plain file")
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise Unreadable(f"more than {MAX_TEXT_BYTES} bytes")
    return content


def parse_xml(content: bytes) -> ElementTree.Element:
    """A document's root. Raises Unreadable."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unreadable(f"not XML: {error}") from None


def parse_appstream(content: bytes) -> ElementTree.Element:
    """The root of a metainfo file or a catalogue. Raises Unreadable, also for what others may read in another way."""
    builder = ElementTree.TreeBuilder()
    # flatpak knows no other encoding, whatever the file says of itself.
    parser = expat.ParserCreate("utf-8")
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_XML_DEPTH:
            raise Unreadable(f"elements in more than {MAX_XML_DEPTH} others")
        if ":" in name:
            raise Unreadable(f"has the element {name!r:.100}; AppStream has no namespaces")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def doctype(*_: object) -> None:
        raise Unreadable("has a document type; AppStream has none")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise Unreadable(f"not XML: {error}") from None
    return builder.close()


def component_identifier(component: ElementTree.Element) -> str:
    """What its only `<id>` says. Raises Unreadable if there is none or another that a reader may take."""
    found = component.findall("id")
    if len(found) != 1 or len(found[0]):
        raise Unreadable(f"has a component with {len(found)} <id>; expected one, with nothing but text in it")
    return (found[0].text or "").strip()


def exported_files(report: Report, exported: Path, app: str) -> Iterator[Path]:
    """Every plain file in the exports, relative to them, that may be there; faults for the others."""
    for folder, folders, files in os.walk(exported):
        folders.sort()
        for name in sorted(folders + files):
            path = Path(folder, name)
            relative = path.relative_to(exported)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                report.fault(f"export/{relative}", "only plain files can be exported", "exports")
            elif not any(relative.is_relative_to(place) for place in PLACES):
                report.fault(f"export/{relative}", "exported to a folder that no app may export to", "exports")
            elif not belongs(name, app):
                report.fault(f"export/{relative}", f"its name does not begin with {app}", "exports")
            else:
                yield relative


def check_exports(report: Report, exported: Path, app: str) -> str | None:
    """What the app shows outside its sandbox. Returns the component's type, None if unknown."""
    files = list(exported_files(report, exported, app))
    component = check_metainfo(report, exported, files, app)
    check_desktop_files(report, exported, files, app, component != "console-application")
    check_icons(report, exported, files, app, component != "console-application")
    for file in files:
        if file.is_relative_to("share/dbus-1/services"):
            try:
                name = key_file(read_plain(exported / file)).get("D-BUS Service", {}).get("Name")
            except Unreadable as error:
                report.fault(f"export/{file}", str(error), "dbus")
                continue
            if f"{name}.service" != file.name:
                report.fault(
                    f"export/{file}", f"[D-BUS Service] Name is {name!r:.100}; expected its file's name", "dbus"
                )
    return component


def check_metainfo(report: Report, exported: Path, files: list[Path], app: str) -> str | None:
    """The app's AppStream data: there, its own, valid. Returns the component's type, None if unknown."""
    found = [file for file in files if str(file.parent) in ("share/metainfo", "share/appdata")]
    names = (f"{app}.metainfo.xml", f"{app}.appdata.xml")
    own = [file for file in found if file.name in names]
    if len(own) != 1:
        listed = ", ".join(sorted(str(file) for file in own)) or "none"
        report.fault(f"export/share/metainfo/{names[0]}", f"expected exactly one such file, found {listed}", "metainfo")
    component = None
    for file in found:
        try:
            root = parse_appstream(read_plain(exported / file))
            identifier = component_identifier(root)
        except Unreadable as error:
            report.fault(f"export/{file}", str(error), "metainfo")
            continue
        if file in own:
            component = root.get("type", "")
            if root.tag != "component" or component not in COMPONENT_TYPES:
                expected = ", ".join(COMPONENT_TYPES)
                message = f"<{root.tag} type={component!r:.100}>: expected a component of type {expected}"
                report.fault(f"export/{file}", message, "metainfo")
            if identifier not in (app, f"{app}.desktop"):
                report.fault(f"export/{file}", f"<id> is {identifier!r:.100}; expected {app!r}", "metainfo")
        elif not belongs(identifier, app):
            report.fault(f"export/{file}", f"<id> is {identifier!r:.100}; expected one of {app}'s", "metainfo")
        validate(report, f"export/{file}", ["appstreamcli", "validate", "--no-net", "--no-color"], exported / file)
    return component


def validate(report: Report, file: str, command: list[str], path: Path) -> None:
    """Run appstreamcli on a file: its errors are faults, the rest is only noted."""
    try:
        result = subprocess.run(
            [*command, str(path)], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        report.fault(file, "appstreamcli did not end within 120 seconds", "appstream")
        return
    lines = (result.stdout + result.stderr).decode(errors="replace").splitlines()
    errors = [line[3:].strip() for line in lines if line.startswith("E: ")]
    for error in errors:
        report.fault(file, error, "appstream")
    known = [line for line in lines if line[:3] in ("W: ", "I: ", "P: ")]
    if result.returncode != 0 and not errors and not known:
        report.fault(file, f"appstreamcli ended with status {result.returncode}: {' '.join(lines)}", "appstream")
    report.notes += [f"{file}: {line}" for line in known]


def check_desktop_files(report: Report, exported: Path, files: list[Path], app: str, needed: bool) -> None:
    """The app's desktop file, by which it is started and found."""
    found = [file for file in files if file.is_relative_to("share/applications")]
    own = Path("share/applications", f"{app}.desktop")
    if needed and own not in found:
        report.fault(f"export/{own}", "missing", "desktop-file")
    for file in found:
        if file.suffix != ".desktop" or str(file.parent) != "share/applications":
            report.fault(f"export/{file}", "not a desktop file", "desktop-file")
            continue
        try:
            entry = key_file(read_plain(exported / file)).get("Desktop Entry")
        except Unreadable as error:
            report.fault(f"export/{file}", str(error), "desktop-file")
            continue
        if entry is None:
            report.fault(f"export/{file}", "has no group [Desktop Entry]", "desktop-file")
            continue
        if entry.get("Type") != "Application":
            report.fault(
                f"export/{file}", f"Type is {entry.get('Type')!r:.100}; expected 'Application'", "desktop-file"
            )
        for key in ("Name", "Exec", "Icon"):
            if not entry.get(key):
                report.fault(f"export/{file}", f"has no {key}", "desktop-file")
        for key, icon in entry.items():
            if key.partition("[")[0] == "Icon" and icon and not belongs(icon, app):
                message = f"{key} is {icon!r:.100}; expected {app!r} or a name after it"
                report.fault(f"export/{file}", message, "desktop-file")
        validate_desktop_file(report, f"export/{file}", exported / file)


def validate_desktop_file(report: Report, file: str, path: Path) -> None:
    """Run desktop-file-validate where it is installed: its errors are faults, the rest is only noted."""
    if not shutil.which("desktop-file-validate"):
        report.notes.append(f"{file}: desktop-file-validate is not installed; only the keys were checked")
        return
    result = subprocess.run(["desktop-file-validate", str(path)], capture_output=True, timeout=120, check=False)
    for line in (result.stdout + result.stderr).decode(errors="replace").splitlines():
        message = line.removeprefix(f"{path}: ")
        if message.startswith("error: "):
            report.fault(file, message.removeprefix("error: "), "desktop-file")
        else:
            report.notes.append(f"{file}: {message}")


def check_icons(report: Report, exported: Path, files: list[Path], app: str, needed: bool) -> None:
    """The app's icon: its own name, a real picture, of the size that its folder says, large enough for the store."""
    large_enough = False
    for file in files:
        if not file.is_relative_to("share/icons"):
            continue
        parts = file.relative_to("share/icons/hicolor").parts
        try:
            pixels = icon_pixels(read_plain(exported / file), file.suffix, parts[0])
        except Unreadable as error:
            report.fault(f"export/{file}", str(error), "icon")
            continue
        main = parts[1:] in (("apps", f"{app}.png"), ("apps", f"{app}.svg"))
        large_enough = large_enough or (main and (pixels is None or pixels >= MIN_ICON_PIXELS))
    if needed and not large_enough:
        expected = f"share/icons/hicolor/{MIN_ICON_PIXELS}x{MIN_ICON_PIXELS}/apps/{app}.png"
        message = f"expected this icon, a larger one or scalable/apps/{app}.svg"
        report.fault(f"export/{expected}", message, "icon")


def icon_pixels(content: bytes, suffix: str, folder: str) -> int | None:
    """An icon's width in pixels, None if it scales. Raises Unreadable if it is not what its name and folder say."""
    if suffix == ".svg":
        if parse_xml(content).tag != _SVG:
            raise Unreadable("not an SVG picture")
        return None
    if suffix != ".png":
        raise Unreadable("neither .png nor .svg")
    if content[:8] != _PNG or content[12:16] != b"IHDR" or len(content) < 33:
        raise Unreadable("not a PNG picture")
    width, height = struct.unpack(">II", content[16:24])
    match = _SIZE.fullmatch(folder)
    if not match:
        raise Unreadable(f"a PNG picture in the folder {folder}; expected one like 128x128")
    scale = int(match[3] or 1)
    expected = (int(match[1]) * scale, int(match[2]) * scale)
    if (width, height) != expected:
        raise Unreadable(f"{width}x{height} pixels; expected {expected[0]}x{expected[1]}, as its folder says")
    if width != height or width > MAX_ICON_PIXELS:
        raise Unreadable(f"{width}x{height} pixels; expected a square of at most {MAX_ICON_PIXELS}")
    return width


def check_listed(report: Report, repo: Path, ref: str, app: str, listed: list[Listed]) -> None:
    """What is there for the list of apps is the catalogue and small icons of the app's own."""
    base = base_app(repo, ref)
    icons = 0
    for file in listed:
        path = file.path.removeprefix("/")
        name = path.removeprefix(f"{LISTED}/")
        owned = name.rpartition("/")[2]
        if base and belongs(owned, base) and not owned.startswith(app):
            # It came with the app that this one is built on; flatpak reads only names that begin with the app's own.
            continue
        icon = re.fullmatch(r"icons/flatpak/([^/]+)/([^/]+)\.png", name)
        if file.size is None:
            report.fault(path, "only plain files can be in the list of apps", "catalogue")
        elif name == f"xmls/{app}.xml.gz":
            continue
        elif not icon or icon[1] not in LISTED_ICON_FOLDERS or not belongs(icon[2], app):
            expected = f"xmls/{app}.xml.gz and icons/flatpak/SIZE/{app}.png, with the sizes 48x48, 64x64 and 128x128"
            report.fault(path, f"expected nothing but {expected}", "catalogue")
        elif file.size > MAX_LISTED_ICON_BYTES:
            report.fault(path, f"{file.size} bytes; expected at most {MAX_LISTED_ICON_BYTES}", "catalogue")
        else:
            icons += 1
            if icons > MAX_COMPONENTS * len(LISTED_ICON_FOLDERS):
                report.fault(path, f"one of more than {icons - 1} icons", "catalogue")
                return
            try:
                icon_pixels(ostree(repo, "cat", ref, file.path), ".png", icon[1])
            except Unreadable as error:
                report.fault(path, str(error), "catalogue")


def base_app(repo: Path, ref: str) -> str | None:
    """The id of the app that this one is built on, None if there is none."""
    try:
        base = key_file(ostree(repo, "cat", ref, "/metadata")).get("Application", {}).get("base", "").split("/")
    except Unreadable:
        return None
    return base[1] if len(base) == 4 else None


def unpacked_catalogue(content: bytes) -> bytes:
    """What is in a gzip file. Raises Unreadable."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, MAX_CATALOGUE_BYTES + 1)
    except zlib.error as error:
        raise Unreadable(f"not a gzip file: {error}") from None
    if len(unpacked) > MAX_CATALOGUE_BYTES:
        raise Unreadable(f"more than {MAX_CATALOGUE_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise Unreadable("not one whole gzip file")
    return unpacked


def check_catalogue(report: Report, repo: Path, ref: str, app: str, metainfo_type: str | None) -> None:
    """The AppStream entry that flatpak-builder composed, from which the store's list is made."""
    file = f"{LISTED}/xmls/{app}.xml.gz"
    try:
        packed = ostree(repo, "cat", ref, f"/{file}", max_bytes=MAX_CATALOGUE_BYTES)
        root = parse_appstream(unpacked_catalogue(packed))
        components = list(root.iter("component"))
        identified = [(component_identifier(component), component) for component in components]
    except Unreadable as error:
        report.fault(file, f"can't be read: {error}", "catalogue")
        return
    if root.tag != "components":
        report.fault(file, f"is a <{root.tag:.100}>; expected <components>", "catalogue")
    if len(components) > MAX_COMPONENTS:
        report.fault(file, f"has {len(components)} components; expected at most {MAX_COMPONENTS}", "catalogue")
    own = [component for identifier, component in identified if identifier in (app, f"{app}.desktop")]
    if not own:
        report.fault(file, f"has no component {app}, so that no store would list it", "catalogue")
    for component in own:
        kind = component.get("type", "")
        if kind not in COMPONENT_TYPES:
            message = f"its component's type is {kind!r:.100}; expected {', '.join(COMPONENT_TYPES)}"
            report.fault(file, message, "catalogue")
        elif metainfo_type and (kind == "console-application") != (metainfo_type == "console-application"):
            message = f"its component's type is {kind!r:.100}; its metainfo's is {metainfo_type!r:.100}"
            report.fault(file, message, "catalogue")
        for tag in ("name", "summary"):
            if not any((each.text or "").strip() for each in component.findall(tag) if "xml:lang" not in each.attrib):
                report.fault(file, f"its component has no <{tag}>", "catalogue")
    for identifier, component in identified[:MAX_COMPONENTS]:
        if not (_IDENTIFIER.fullmatch(identifier) and belongs(identifier, app)):
            report.fault(file, f"has the component {identifier!r:.100}, which is not {app}'s", "catalogue")
        for extended in component.findall("extends"):
            if not belongs((extended.text or "").strip(), app):
                report.fault(file, f"extends {extended.text!r:.100}, which is not {app}'s", "catalogue")
