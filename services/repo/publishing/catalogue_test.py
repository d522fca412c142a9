"""What a build may add to the list of all applications."""

import gzip
import subprocess

import pytest

from publishing import catalogue, objects
from publishing.job import InvalidJob

APP = "org.flathub.App"
REF = f"app/{APP}/x86_64/stable"
PLACE = "files/share/app-info"
XML = f"{PLACE}/xmls/{APP}.xml.gz"
ICON = f"{PLACE}/icons/flatpak/128x128/{APP}.png"


def packed(xml):
    """The same bytes each time."""
    return gzip.compress(xml, mtime=0)


COMPONENT = packed(b"<components><component/></components>")


def check(tmp_path, files, links=()):
    """Check the commit of a tree with these files."""
    tree, repository = tmp_path / "tree", tmp_path / "repository"
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    for name in links:
        (tree / name).symlink_to("/etc/passwd")
    subprocess.run(["ostree", f"--repo={repository}", "init", "--mode=archive"], check=True)
    argv = ["ostree", f"--repo={repository}", "commit", f"--branch={REF}", tree]
    commit = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    catalogue.check(repository, REF, objects.commit(repository, commit).tree)


def test_what_builders_make(tmp_path):
    icons = [ICON.replace("128x128", size) for size in ("48x48", "64x64", "64x64@2", "128x128@2")]
    check(tmp_path, {XML: COMPONENT, **dict.fromkeys([ICON, *icons], bytes(256 * 1024))})


def test_nothing_is_no_error(tmp_path):
    check(tmp_path, {"files/bin/hello": b"", "files/share/doc": b""})


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (XML, packed(b"<a>" + b"x" * 2 * 1024**2 + b"</a>"), "larger than 1048576 bytes when unpacked"),
        (XML, COMPONENT + packed(bytes(2 * 1024**2)), "when unpacked"),
        (XML, bytes(2 * 1024**2), "larger than 1048576 bytes"),
        (XML, packed(b"<a>" * 70 + b"</a>" * 70), "nested deeper than 64"),
        (XML, packed(b"<a>"), "no element found"),
        (XML, b"<components/>", "[Nn]ot a gzipped file"),
        (ICON, bytes(256 * 1024 + 1), "larger than 262144 bytes"),
        (ICON.replace(".png", ".svg"), b"", "expected nothing there but"),
        (f"{PLACE}/xmls/{APP}.Other.xml.gz", COMPONENT, "expected nothing there but"),
        (f"{PLACE}/media/x", b"", "expected nothing there but"),
        (f"{PLACE}/a/b/c/d/e/f", b"", "folders in folders"),
    ],
    ids=lambda value: "content" if isinstance(value, bytes) else None,
)
def test_what_is_refused(tmp_path, name, content, reason):
    with pytest.raises(InvalidJob, match=reason):
        check(tmp_path, {name: content})


def test_too_many_files(tmp_path):
    with pytest.raises(InvalidJob, match="more than 1000 files"):
        check(tmp_path, {f"{PLACE}/icons/flatpak/64x64/{number}.png": b"" for number in range(1001)})


def test_a_link_is_refused(tmp_path):
    with pytest.raises(InvalidJob, match="not a regular file"):
        check(tmp_path, {ICON: b""}, links=[ICON.replace(APP, "link")])


def test_what_came_with_a_base_app_may_stay(tmp_path):
    base = XML.replace(APP, "org.flathub.Base")
    check(tmp_path, {XML: COMPONENT, base: b"never read"})
