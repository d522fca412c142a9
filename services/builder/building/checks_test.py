"""The checks on real OSTree repositories: one that is right, and each thing that may be wrong with one."""

import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from building import checks, commands

APP = "org.example.App"
REF = f"app/{APP}/x86_64/stable"

pytestmark = pytest.mark.skipif(
    not (shutil.which("ostree") and shutil.which("appstreamcli")), reason="needs ostree and appstreamcli"
)


def png(width, height):
    """A real PNG picture of one colour."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * 3 * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


DESCRIPTION = """<description>
    <p>An application that is here so that something can be checked, and nothing else.</p>
  </description>"""


def metainfo(identifier=APP, kind="desktop-application", summary="Shows what is checked"):
    """A metainfo file."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<component type="{kind}">
  <id>{identifier}</id>
  <metadata_license>CC0-1.0</metadata_license>
  <project_license>CC0-1.0</project_license>
  <name>Example</name>
  <summary>{summary}</summary>
  {DESCRIPTION}
  <launchable type="desktop-id">{APP}.desktop</launchable>
  <url type="homepage">https://example.org</url>
  <content_rating type="oars-1.1" />
  <releases><release version="1.0" date="2017-05-10" /></releases>
</component>
"""


def component(identifier=APP, kind="desktop-application", summary="<summary>Shows what is checked</summary>", more=""):
    """An app in a catalogue as appstreamcli composes it for flatpak-builder 1.4."""
    return f"""<component type="{kind}">
    <id>{identifier}</id>
    <name xml:lang="de">Beispiel</name>
    <name>Example</name>
    {summary}
    {DESCRIPTION}
    <launchable type="desktop-id">{APP}.desktop</launchable>
    <icon type="cached" width="64" height="64">{APP}.png</icon>
    <icon type="stock">{APP}</icon>
    <releases><release type="stable" version="1.0" timestamp="1494374400"/></releases>{more}
  </component>"""


def catalogue(*components, root="components", before=""):
    """A catalogue in a gzip file."""
    text = f'<?xml version="1.0" encoding="utf-8"?>{before}<{root} version="1.0">{"".join(components)}</{root}>'
    return gzip.compress(text.encode())


METADATA = f"""[Application]
name={APP}
runtime=org.example.Platform/x86_64/1
sdk=org.example.Sdk/x86_64/1
command=example
"""
DESKTOP = f"""[Desktop Entry]
Type=Application
Name=Example
Exec=example
Icon={APP}
Categories=Utility;
"""
METAINFO = f"export/share/metainfo/{APP}.metainfo.xml"
DESKTOP_FILE = f"export/share/applications/{APP}.desktop"
ICON = f"export/share/icons/hicolor/128x128/apps/{APP}.png"
CATALOGUE = f"files/share/app-info/xmls/{APP}.xml.gz"
LISTED_ICON = f"files/share/app-info/icons/flatpak/128x128/{APP}.png"
GOOD = {
    "metadata": METADATA,
    METAINFO: metainfo(),
    DESKTOP_FILE: DESKTOP,
    ICON: png(128, 128),
    CATALOGUE: catalogue(component()),
    LISTED_ICON: png(128, 128),
    LISTED_ICON.replace("128x128", "64x64"): png(64, 64),
    "files/bin/example": "#!/bin/sh\n",
}


class Repository:
    """A repository in a folder of its own, filled with ostree itself."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "repo"
        self.ostree("init", "--mode=archive")

    def ostree(self, *arguments):
        """Run ostree; returns what it prints."""
        command = ["ostree", f"--repo={self.path}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, ref=REF, metadata=None, files=GOOD, **changed):
        """Commit the files to a ref. ``changed`` maps paths to contents, None for none."""
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        for name, content in {**files, **changed.get("change", {})}.items():
            if content is None:
                continue
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        inner = (tree / "metadata").read_text() if metadata is None else metadata
        self.ostree("commit", f"--branch={ref}", f"--add-metadata-string=xa.metadata={inner}", str(tree))

    def faults(self):
        """What the checks find."""
        return checks.check_repository(self.path, APP, "x86_64").faults


@pytest.fixture
def repo(tmp_path):
    """An empty repository."""
    return Repository(tmp_path)


def test_a_right_app_passes(repo):
    repo.commit()
    for kind in checks.RELATED:
        own = {"metadata": f"[Runtime]\nname={APP}.{kind}\n", "files/x": "x"}
        repo.commit(f"runtime/{APP}.{kind}/x86_64/stable", files=own)
    assert repo.faults() == []
    assert sorted(path.name for path in repo.folder.iterdir()) == ["repo", "tree"], "leaves nothing behind"


@pytest.mark.skipif(not shutil.which("flatpak"), reason="needs flatpak")
def test_what_flatpak_itself_exports_passes(tmp_path):
    """Exported as flatpak-builder does it, but for the catalogue, which is put there by hand."""
    app = tmp_path / "app"
    share = app / "files/share"
    files = {
        share / f"metainfo/{APP}.metainfo.xml": metainfo().encode(),
        share / f"applications/{APP}.desktop": DESKTOP.encode(),
        share / f"icons/hicolor/128x128/apps/{APP}.png": png(128, 128),
        share / f"icons/hicolor/64x64/apps/{APP}.Part.png": png(64, 64),
        share / f"dbus-1/services/{APP}.service": f"[D-BUS Service]\nName={APP}\nExec=/app/bin/example\n".encode(),
        app / CATALOGUE: catalogue(component()),
        app / LISTED_ICON: png(128, 128),
        app / "files/bin/example": b"#!/bin/sh\n",
    }
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}

    def flatpak(*arguments):
        result = subprocess.run(
            ["flatpak", *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )
        assert result.returncode == 0, result.stderr

    # As `flatpak build-init` leaves it, which needs an SDK to be installed.
    (app / "var").mkdir(parents=True)
    (app / "metadata").write_text(METADATA.replace("command=example\n", ""))
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    flatpak("build-finish", "--command=example", "--own-name=org.example.App", "app")
    flatpak("build-export", "--arch=x86_64", "--disable-sandbox", "repo", "app", "stable")
    assert checks.check_repository(tmp_path / "repo", APP, "x86_64").faults == []


OLD_CATALOGUE = f"""<?xml version="1.0" encoding="UTF-8"?>
<components builder_id="appstream-glib:5" origin="flatpak" version="0.8">
  <component type="desktop">
    <id>{APP}.desktop</id>
    <name>Example</name>
    <summary>Shows what is checked</summary>
    {DESCRIPTION}
    <icon type="cached" height="64" width="64">{APP}.png</icon>
    <kudos><kudo>HiDpiIcon</kudo></kudos>
  </component>
</components>
"""
BASE = METADATA + "base=app/org.example.Base/x86_64/stable\n"
SVG = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
SCALABLE = f"export/share/icons/hicolor/scalable/apps/{APP}.svg"


@pytest.mark.parametrize(
    "change",
    [
        {ICON: None, SCALABLE: SVG},
        {ICON: None, ICON.replace("128x128", "512x512"): png(512, 512)},
        {ICON: None, ICON.replace("128x128", "64x64@2"): png(128, 128)},
        {ICON.replace("128x128", "16x16"): png(16, 16)},
        {METAINFO: None, f"export/share/appdata/{APP}.appdata.xml": metainfo(f"{APP}.desktop", "desktop")},
        {
            METAINFO: metainfo(kind="console-application"),
            CATALOGUE: catalogue(component(kind="console-application")),
            DESKTOP_FILE: None,
            ICON: None,
        },
        {CATALOGUE: gzip.compress(OLD_CATALOGUE.encode())},
        {CATALOGUE: catalogue(component(), component(f"{APP}.Part"))},
        {
            LISTED_ICON.replace("128x128", "128x128@2"): png(256, 256),
            LISTED_ICON.replace(APP, f"{APP}.Part"): png(128, 128),
        },
        {
            "metadata": BASE,
            CATALOGUE.replace(APP, "org.example.Base"): "x",
            LISTED_ICON.replace(APP, "org.example.Base"): "x",
        },
        {DESKTOP_FILE: f"# A comment\n\n{DESKTOP}Name[de] = Beispiel = 1\nIcon[de]={APP}-de\n"},
        {DESKTOP_FILE.replace(".desktop", "-settings.desktop"): DESKTOP},
    ],
)
def test_so_does_one_of_another_form(repo, change):
    repo.commit(change=change)
    assert repo.faults() == []


WRONG = {
    "no metainfo": ({METAINFO: None}, METAINFO, "found none [metainfo]"),
    "two metainfo files": (
        {f"export/share/appdata/{APP}.appdata.xml": metainfo()},
        METAINFO,
        f"found share/appdata/{APP}.appdata.xml, share/metainfo/{APP}.metainfo.xml [metainfo]",
    ),
    "metainfo of another app": ({METAINFO: metainfo("org.example.Other")}, METAINFO, "<id> is 'org.example.Other'"),
    "metainfo of another kind": ({METAINFO: metainfo(kind="addon")}, METAINFO, "expected a component of type"),
    "metainfo that is no XML": ({METAINFO: "<component>"}, METAINFO, "not XML"),
    "metainfo that is huge": ({METAINFO: metainfo() + " " * 5_000_000}, METAINFO, "more than 4194304 bytes"),
    "metainfo that is invalid": ({METAINFO: metainfo(summary="")}, METAINFO, "[appstream]"),
    "no desktop file": ({DESKTOP_FILE: None}, DESKTOP_FILE, "missing [desktop-file]"),
    "a desktop file without Exec": (
        {DESKTOP_FILE: DESKTOP.replace("Exec=example\n", "")},
        DESKTOP_FILE,
        "has no Exec [desktop-file]",
    ),
    "a desktop file of another type": (
        {DESKTOP_FILE: DESKTOP.replace("=Application", "=Link")},
        DESKTOP_FILE,
        "Type is 'Link'; expected 'Application' [desktop-file]",
    ),
    "a desktop file with another's icon": (
        {DESKTOP_FILE: DESKTOP.replace(f"={APP}", "=firefox")},
        DESKTOP_FILE,
        "Icon is 'firefox'",
    ),
    "a desktop file that is none": ({DESKTOP_FILE: "hello"}, DESKTOP_FILE, "not a key file"),
    "a desktop file in no encoding": ({DESKTOP_FILE: b"\xff\xfe"}, DESKTOP_FILE, "decode"),
    "a desktop file that is another": ({DESKTOP_FILE: "[Other]\n"}, DESKTOP_FILE, "no group [Desktop Entry]"),
    "no icon": ({ICON: None}, ICON, "expected this icon"),
    "only a small icon": ({ICON: None, ICON.replace("128x128", "64x64"): png(64, 64)}, ICON, "expected this icon"),
    "an icon of another size": ({ICON: png(64, 64)}, ICON, "64x64 pixels; expected 128x128"),
    "an icon that is none": ({ICON: "hello"}, ICON, "not a PNG picture [icon]"),
    "an icon that is cut off": ({ICON: png(128, 128)[:20]}, ICON, "not a PNG picture [icon]"),
    "an icon that is not square": (
        {ICON.replace("128x128", "128x64"): png(128, 64)},
        ICON.replace("128x128", "128x64"),
        "expected a square",
    ),
    "an icon of an unknown format": ({ICON.replace(".png", ".xpm"): "x"}, ICON.replace(".png", ".xpm"), "neither .png"),
    "an SVG that is none": ({SCALABLE: "<html/>"}, SCALABLE, "not an SVG picture [icon]"),
    "another's name in the exports": (
        {"export/share/applications/org.example.Other.desktop": DESKTOP},
        "export/share/applications/org.example.Other.desktop",
        f"its name does not begin with {APP} [exports]",
    ),
    "another's name that begins alike": (
        {f"export/share/applications/{APP}lication.desktop": DESKTOP},
        f"export/share/applications/{APP}lication.desktop",
        "[exports]",
    ),
    "an export to a strange folder": (
        {f"export/share/autostart/{APP}.desktop": DESKTOP},
        f"export/share/autostart/{APP}.desktop",
        "exported to a folder that no app may export to [exports]",
    ),
    "an export that is a link": (
        {ICON: None, SCALABLE: lambda path: path.symlink_to("/etc/passwd")},
        SCALABLE,
        "only plain files can be exported [exports]",
    ),
    "a D-Bus service of another name": (
        {f"export/share/dbus-1/services/{APP}.service": "[D-BUS Service]\nName=org.example.Other\n"},
        f"export/share/dbus-1/services/{APP}.service",
        "Name is 'org.example.Other'; expected its file's name [dbus]",
    ),
    "no catalogue": ({CATALOGUE: None}, CATALOGUE, "can't be read"),
    "an empty catalogue": ({CATALOGUE: catalogue()}, CATALOGUE, f"has no component {APP}"),
    "a catalogue with another app": (
        {CATALOGUE: catalogue(component(), component("org.example.Other"))},
        CATALOGUE,
        "has the component 'org.example.Other'",
    ),
    "a catalogue with another app inside its own": (
        {CATALOGUE: catalogue(component(more=component("org.example.Other")))},
        CATALOGUE,
        "has the component 'org.example.Other'",
    ),
    "a catalogue with two ids": (
        {CATALOGUE: catalogue(component(more="<id>org.example.Other</id>"))},
        CATALOGUE,
        "has a component with 2 <id>",
    ),
    "a catalogue with more than text in its id": (
        {CATALOGUE: catalogue(component(f"{APP}<b/>.Other"))},
        CATALOGUE,
        "with nothing but text in it",
    ),
    "a catalogue with an id that is none": (
        {CATALOGUE: catalogue(component(), component(f"{APP}.a\nb"))},
        CATALOGUE,
        "has the component",
    ),
    "a catalogue with an id in a namespace": (
        {CATALOGUE: catalogue(component(more="<x:id>org.example.Other</x:id>"))},
        CATALOGUE,
        "has the element 'x:id'",
    ),
    "a catalogue that extends another app": (
        {CATALOGUE: catalogue(component(), component(f"{APP}.Part", more="<extends>org.example.Other</extends>"))},
        CATALOGUE,
        "extends 'org.example.Other'",
    ),
    "a catalogue of another root": (
        {CATALOGUE: catalogue(component(), root="apps")},
        CATALOGUE,
        "expected <components>",
    ),
    "a catalogue with a document type": (
        {CATALOGUE: catalogue(component(), before='<!DOCTYPE components [<!ENTITY x "org.example.Other">]>')},
        CATALOGUE,
        "has a document type",
    ),
    "a catalogue of another type": (
        {CATALOGUE: catalogue(component(kind="repository"))},
        CATALOGUE,
        "its component's type is 'repository'",
    ),
    "a catalogue of another type than the metainfo": (
        {METAINFO: metainfo(kind="console-application"), DESKTOP_FILE: None, ICON: None},
        CATALOGUE,
        "its component's type is 'desktop-application'; its metainfo's is 'console-application'",
    ),
    "a catalogue without a summary": ({CATALOGUE: catalogue(component(summary=""))}, CATALOGUE, "has no <summary>"),
    "a catalogue with only a translated summary": (
        {CATALOGUE: catalogue(component(summary='<summary xml:lang="de">Zeigt</summary>'))},
        CATALOGUE,
        "has no <summary>",
    ),
    "a catalogue of very many": (
        {CATALOGUE: catalogue(component(), *(component(f"{APP}.{number}") for number in range(8)))},
        CATALOGUE,
        "has 9 components; expected at most 8",
    ),
    "a catalogue that is deep": (
        {CATALOGUE: catalogue(component(more="<p>" * 100 + "</p>" * 100))},
        CATALOGUE,
        "elements in more than 64 others",
    ),
    "a catalogue that is a bomb": ({CATALOGUE: gzip.compress(b" " * 50_000_000)}, CATALOGUE, "more than 1048576 bytes"),
    "a catalogue that is not packed": ({CATALOGUE: "<components/>"}, CATALOGUE, "not a gzip file"),
    "a catalogue that is cut off": ({CATALOGUE: catalogue(component())[:-9]}, CATALOGUE, "not one whole gzip file"),
    "a catalogue and another": (
        {CATALOGUE: catalogue(component()) + gzip.compress(b"<!-- -->")},
        CATALOGUE,
        "not one whole gzip file",
    ),
    "a catalogue that is a link": (
        {CATALOGUE: lambda path: path.symlink_to("/etc/passwd")},
        f"{CATALOGUE} -> /etc/passwd",
        "only plain files can be in the list of apps [catalogue]",
    ),
    "a listed icon that is huge": (
        {LISTED_ICON: png(128, 128) + b" " * 300_000},
        LISTED_ICON,
        "bytes; expected at most 262144 [catalogue]",
    ),
    "a listed icon that is none": ({LISTED_ICON: "hello"}, LISTED_ICON, "not a PNG picture [catalogue]"),
    "a listed icon of another size": ({LISTED_ICON: png(64, 64)}, LISTED_ICON, "64x64 pixels; expected 128x128"),
    "a listed icon that is a link": (
        {LISTED_ICON: lambda path: path.symlink_to("/etc/passwd")},
        f"{LISTED_ICON} -> /etc/passwd",
        "only plain files can be in the list of apps [catalogue]",
    ),
    "another's icon in the list": (
        {LISTED_ICON.replace(APP, "org.example.Other"): png(128, 128)},
        LISTED_ICON.replace(APP, "org.example.Other"),
        "expected nothing but",
    ),
    "an icon in the list of one whose name begins alike": (
        {"metadata": BASE.replace("Base", "App"), LISTED_ICON.replace(APP, f"{APP}lication"): png(128, 128)},
        LISTED_ICON.replace(APP, f"{APP}lication"),
        "expected nothing but",
    ),
    "a listed icon in another folder": (
        {LISTED_ICON.replace("128x128", "256x256"): png(256, 256)},
        LISTED_ICON.replace("128x128", "256x256"),
        "expected nothing but",
    ),
    "very many listed icons": (
        {LISTED_ICON.replace(APP, f"{APP}.{number:02}"): png(128, 128) for number in range(48)},
        LISTED_ICON,
        "one of more than 48 icons",
    ),
    "another's catalogue": (
        {CATALOGUE.replace(APP, f"{APP}.Part"): catalogue(component(f"{APP}.Part"))},
        CATALOGUE.replace(APP, f"{APP}.Part"),
        "expected nothing but",
    ),
    "anything else beside the catalogue": (
        {"files/share/app-info/media/a.png": png(16, 16)},
        "files/share/app-info/media/a.png",
        "expected nothing but",
    ),
    "metainfo with two ids": (
        {METAINFO: metainfo().replace("<name>", "<id>org.example.Other</id><name>")},
        METAINFO,
        "has a component with 2 <id>",
    ),
    "metainfo with a document type": (
        {METAINFO: metainfo().replace("?>", '?><!DOCTYPE component [<!ENTITY x "x">]>')},
        METAINFO,
        "has a document type",
    ),
    "a desktop file with another's icon in one language": (
        {DESKTOP_FILE: DESKTOP + "Icon[de]=firefox\n"},
        DESKTOP_FILE,
        "Icon[de] is 'firefox'",
    ),
    "a D-Bus service with another name that only GLib sees": (
        {f"export/share/dbus-1/services/{APP}.service": f"[D-BUS Service]\nName={APP}\nX=1\n Name=org.example.Other\n"},
        f"export/share/dbus-1/services/{APP}.service",
        "line 4 begins with a blank [dbus]",
    ),
    "metadata that is huge": (
        {"metadata": f"{METADATA}[Environment]\nX={'x' * 65536}\n"},
        f"{REF} /metadata",
        "expected at most 65536 [metadata]",
    ),
    "metadata of another app": (
        {"metadata": METADATA.replace(APP, "org.example.Other")},
        f"{REF} /metadata",
        "[Application] name is 'org.example.Other'",
    ),
    "metadata of another architecture": (
        {"metadata": METADATA.replace("Sdk/x86_64", "Sdk/arm")},
        f"{REF} /metadata",
        "sdk is 'org.example.Sdk/arm/1'; expected NAME/x86_64/BRANCH [metadata]",
    ),
    "metadata of a runtime": (
        {"metadata": METADATA.replace("Application", "Runtime")},
        f"{REF} /metadata",
        f"[Application] name is ''; expected {APP!r}",
    ),
    "a setuid program": (
        {"files/bin/root": lambda path: (path.touch(), path.chmod(0o4755))},
        f"{REF} /files/bin/root",
        "is setuid or setgid (mode 4755) [modes]",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_file_and_rule(repo, name):
    change, file, message = WRONG[name]
    repo.commit(change=change)
    faults = repo.faults()
    assert any(fault.startswith(f"{file}: ") and message in fault for fault in faults), faults


def test_all_faults_are_told_at_once(repo):
    repo.commit(change={METAINFO: None, DESKTOP_FILE: None, ICON: None, CATALOGUE: None})
    assert [fault.rsplit("[")[-1] for fault in repo.faults()] == ["metainfo]", "desktop-file]", "icon]", "catalogue]"]


def test_a_fault_is_one_printable_line(repo):
    repo.commit(change={"export/share/icons/a\n\x1b[31mb": "x"})
    (fault,) = repo.faults()
    assert fault.isprintable() and "a??[31mb" in fault


def test_metadata_that_the_commit_denies(repo):
    repo.commit(metadata=METADATA.replace("sdk", "sdc"))
    assert repo.faults() == [f"{REF} /metadata: differs from what the commit itself says (xa.metadata) [metadata]"]


@pytest.mark.parametrize(
    "strange",
    [
        "app/org.example.Other/x86_64/stable",
        f"app/{APP}/i386/stable",
        f"app/{APP}/x86_64/beta",
        f"runtime/{APP}.Extension/x86_64/stable",
        f"runtime/{APP}.Locale/i386/stable",
        "appstream2/x86_64",
    ],
)
def test_any_other_ref_is_refused_by_name(repo, strange):
    repo.commit()
    repo.commit(strange)
    assert repo.faults() == [f"{strange}: not a ref of {APP} for x86_64 and branch stable [refs]"]


def test_a_ref_of_a_remote_is_refused(repo):
    repo.commit()
    place = repo.path / "refs/remotes/other"
    place.mkdir(parents=True)
    shutil.copy(repo.path / "refs/heads" / REF, place / "ref")
    assert repo.faults() == [f"remotes/other/ref: not a ref of {APP} for x86_64 and branch stable [refs]"]


def test_a_build_without_the_apps_ref_failed(repo):
    own = {"metadata": f"[Runtime]\nname={APP}.Locale\n", "files/x": "x"}
    repo.commit(f"runtime/{APP}.Locale/x86_64/stable", files=own)
    assert repo.faults() == [f"{REF}: the build made no such ref [refs]"]


def test_a_related_ref_is_checked_too(repo):
    repo.commit()
    own = {"metadata": "[Runtime]\nname=org.example.Other\n", "files/x": lambda p: (p.touch(), p.chmod(0o2755))}
    repo.commit(f"runtime/{APP}.Debug/x86_64/stable", files=own)
    first, second = repo.faults()
    assert f"expected '{APP}.Debug'" in first and "[modes]" in second


@pytest.mark.parametrize("kind", checks.RELATED)
def test_a_related_ref_puts_nothing_into_the_list_of_apps(repo, kind):
    name = f"{APP}.{kind}"
    repo.commit()
    own = {"metadata": f"[Runtime]\nname={name}\n", CATALOGUE.replace(APP, name): catalogue(component(name))}
    repo.commit(f"runtime/{name}/x86_64/stable", files=own)
    (fault,) = repo.faults()
    assert fault.startswith(f"runtime/{name}/x86_64/stable /{CATALOGUE.replace(APP, name)}: only the app itself can be")


def test_no_repository_at_all(tmp_path):
    for _ in range(2):
        assert checks.check_repository(tmp_path / "repo", APP, "x86_64").faults == [
            "repo: the build made no repository [repository]"
        ]
        if not (tmp_path / "repo").is_symlink():
            (tmp_path / "repo").symlink_to(tmp_path)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("repo/refs/heads/app/org.example.Other", lambda path: path.symlink_to(APP)),
        (f"repo/refs/heads/{REF}", lambda path: (path.unlink(), path.symlink_to("/etc/passwd"))),
        ("repo/objects/link", lambda path: path.symlink_to("/etc/passwd")),
        ("repo/pipe", os.mkfifo),
    ],
)
def test_a_repository_with_links_or_pipes_is_not_read(repo, name, make):
    repo.commit()
    make(repo.folder / name)
    assert repo.faults() == [f"{name}: neither a folder nor a plain file [repository]"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("mode=archive-z2", "mode=bare", "[core] mode is 'bare'; expected 'archive-z2'"),
        ("mode=archive-z2", "mode=archive-z2\nparent=/var/lib/other", "[core] parent is set"),
        ("mode=archive-z2", "mode=archive-z2\nx=1\n parent=/var/lib/other", "line 5 begins with a blank"),
        ("[core]", "core", "not a key file"),
    ],
)
def test_a_repository_of_another_kind_is_not_read(repo, before, after, message):
    repo.commit()
    config = repo.path / "config"
    config.write_text(config.read_text().replace(before, after))
    (fault,) = repo.faults()
    assert fault.startswith("repo/config: ") and message in fault


def objects(repo, suffix):
    """The repository's objects of a kind."""
    return sorted((repo.path / "objects").rglob(f"*.{suffix}"))


@pytest.mark.parametrize("suffix", ["filez", "dirtree", "commit"])
def test_a_missing_object(repo, suffix):
    repo.commit()
    objects(repo, suffix)[0].unlink()
    (fault,) = repo.faults()
    assert fault.startswith("repo: is damaged: ") and fault.endswith(" [repository]")


def test_a_corrupt_object(repo):
    repo.commit()
    path = objects(repo, "filez")[0]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    (fault,) = repo.faults()
    assert fault.startswith("repo: is damaged: ") and fault.endswith(" [repository]")


@pytest.mark.skipif(not shutil.which("desktop-file-validate"), reason="needs desktop-file-validate")
def test_desktop_file_validate_has_its_say(repo):
    repo.commit(change={DESKTOP_FILE: DESKTOP + "Terminal=maybe\n"})
    (fault,) = repo.faults()
    assert fault.startswith(f"{DESKTOP_FILE}: value ") and fault.endswith("[desktop-file]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\n\tb=1\n", "line 2 begins with a blank"),
        (" [a]\nb=1\n", "line 1 begins with a blank"),
        ("[a]\nb=1\nb=2\n", "line 3 has the key 'b' again"),
        ("[a]\nb=1\nb =2\n", "line 3 has the key 'b' again"),
        ("[a]\nb=1\n[c]\n[a]\n", "line 4 has the group 'a' again"),
        ("[a]\nb=1\n[a] \n", "line 3 has the group 'a' again"),
        ("[a]\nb=1\0\n", "line 2 has a control character"),
        ("[a]\nb=1\rc=2\n", "line 2 has a control character"),
        ("[a]\nb=1\x0cc=2\n", "line 2 has a control character"),
        ("b=1\n", "line 1 is neither"),
        ("[a]\n=1\n", "line 2 is neither"),
        ("[a]\nb\n", "line 2 is neither"),
        ("[a]\n; b\n", "line 2 is neither"),
        ("[a]\nb[=1\n", "line 2 is neither"),
        ("[a]\n[b]=1\n", "line 2 is neither"),
        ("[a]b]\n", "line 1 is neither"),
        ("[]\n", "line 1 is neither"),
        ("[a\n", "line 1 is neither"),
        ("\ufeff[a]\n", "line 1 is neither"),
    ],
)
def test_what_glib_may_read_in_another_way_is_no_key_file(text, message):
    with pytest.raises(checks.Unreadable, match=f"not a key file: {re.escape(message)}"):
        checks.key_file(text.encode())


def test_a_key_file_is_read_as_glib_reads_it():
    text = "# [x]\n\n\t# b=1\n[a b] \t\r\nk = v = w \nk[de_DE@x]=\n\u2028k=1\n \n;k=2\n[c]\nk=\u0085v\n"
    assert checks.key_file(text.encode()) == {
        "a b": {"k": "v = w ", "k[de_DE@x]": "", "\u2028k": "1", ";k": "2"},
        "c": {"k": "\u0085v"},
    }


PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "app", ["org.flathub.test.Hello", "org.flathub.test.Shell", "org.gnu.hello", "org.flathub.test.Hostile"]
)
def test_the_projects_own_apps_have_what_is_asked_for(repo, app):
    folder = PROJECT / ("test/stack/apps" if app.endswith("Hostile") else "local/world/apps") / app
    own = {
        "metadata": METADATA.replace(APP, app),
        f"export/share/metainfo/{app}.metainfo.xml": (folder / f"{app}.metainfo.xml").read_bytes(),
        f"export/share/applications/{app}.desktop": (folder / f"{app}.desktop").read_bytes(),
        f"export/share/icons/hicolor/128x128/apps/{app}.png": (folder / f"{app}.png").read_bytes(),
        f"files/share/app-info/xmls/{app}.xml.gz": catalogue(component(app)),
    }
    repo.commit(f"app/{app}/x86_64/stable", files=own)
    assert checks.check_repository(repo.path, app, "x86_64").faults == []


def test_the_program_tells_all_and_its_status_is_the_answer(repo):
    command = [sys.executable, "-B", str(commands.ROLE / "check-build"), APP, "x86_64", str(repo.path)]

    def run():
        return subprocess.run(command, capture_output=True, text=True, check=False)

    repo.commit()
    good = run()
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "all checks passed"), good.stderr
    repo.commit(change={ICON: None, DESKTOP_FILE: None})
    bad = run()
    assert bad.returncode == 1
    assert [line.split(":")[0] for line in bad.stdout.splitlines() if "[" in line] == ["FAILED", "FAILED"]
    assert "2 checks failed; each rule is described in docs/checks.md" in bad.stdout


def test_every_rule_is_described_for_maintainers():
    described = (PROJECT / "docs/checks.md").read_text()
    for rule in checks.RULES:
        assert f"| `{rule}` |" in described
