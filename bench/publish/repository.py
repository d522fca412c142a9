"""A signed, settled archive repository of tiny applications, as flatpak writes them."""

import gzip
import os
import random
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from program import run

ARCHITECTURES = ("aarch64", "arm", "i386", "x86_64")
BRANCH = "stable"
# Sizes in bytes. Binaries and icons are random: the real ones don't compress either.
BINARY_BYTES = 8 * 1024
ICON_BYTES = {"64x64": 1536, "128x128": 3072}

Progress = Callable[[str], None]


def app_id(number: int) -> str:
    return f"org.flathub.bench.App{number:05}"


def ref(app: str, architecture: str) -> str:
    return f"app/{app}/{architecture}/{BRANCH}"


def write_app(directory: Path, number: int, architecture: str, version: int) -> None:
    """Write an application as flatpak-builder leaves it: metadata, files and export.

    Version and architecture decide what is in the binary; the AppStream entry names the version; icons stay.
    """
    app = app_id(number)
    binary = random.Random(f"{app} {architecture} {version}")
    icons = random.Random(app)
    info = directory / "files/share/app-info"
    files = {
        directory / "metadata": (
            f"[Application]\nname={app}\nruntime=org.flathub.bench.Platform/{architecture}/1\n"
            f"sdk=org.flathub.bench.Sdk/{architecture}/1\ncommand=app\n\n"
            "[Context]\nshared=network;ipc;\nsockets=wayland;fallback-x11;pulseaudio;\ndevices=dri;\n"
        ).encode(),
        directory / "files/bin/app": binary.randbytes(BINARY_BYTES),
        info / f"xmls/{app}.xml.gz": gzip.compress(_appstream(app, number, version).encode(), mtime=0),
        **{info / f"icons/flatpak/{size}/{app}.png": icons.randbytes(count) for size, count in ICON_BYTES.items()},
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (directory / "files/bin/app").chmod(0o755)
    (directory / "export").mkdir()


def _appstream(app: str, number: int, version: int) -> str:
    words = random.Random(number)
    text = " ".join("".join(words.choices("abcdefghijklmnopqrstuvwxyz", k=words.randint(2, 10))) for _ in range(80))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<components version="0.8" origin="flatpak">\n'
        f'  <component type="desktop">\n    <id>{app}.desktop</id>\n    <name>Application {number}</name>\n'
        f"    <summary>{text[:60]}</summary>\n    <description><p>{text}</p></description>\n"
        f'    <releases><release version="{version}" timestamp="{1_700_000_000 + version}"/></releases>\n'
        f'    <icon type="cached" height="64" width="64">{app}.png</icon>\n'
        f'    <icon type="cached" height="128" width="128">{app}.png</icon>\n'
        f"  </component>\n</components>\n"
    )


def commit_app(
    repository: Path, directory: Path, number: int, architecture: str, gpg_options: Sequence[str] = ()
) -> None:
    """Commit what `write_app` wrote, with the metadata that `flatpak build-export` gives a commit."""
    installed = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    run([
        "ostree", f"--repo={repository}", "commit", f"--branch={ref(app_id(number), architecture)}",
        f"--subject=Export {app_id(number)}", f"--tree=dir={directory}", "--canonical-permissions", "--no-xattrs",
        f"--add-metadata-string=xa.metadata={(directory / 'metadata').read_text()}",
        f"--add-metadata=xa.installed-size=uint64 {installed}", f"--add-metadata=xa.download-size=uint64 {installed}",
        *gpg_options,
    ])  # fmt: skip


def make_repository(repository: Path, refs: int, gpg_options: Sequence[str], progress: Progress) -> None:
    """Make an archive repository of `refs` refs, an application for each four, and settle it: static deltas, AppStream
    branches and summary are there, as after a plain publish."""
    run(["ostree", f"--repo={repository}", "init", "--mode=archive"])
    # As the publisher's: ostree's own limit is 3 % of the disk.
    run(["ostree", f"--repo={repository}", "config", "set", "core.min-free-space-percent", "0"])
    scratch = repository.with_name(f"{repository.name}.trees")

    def add(number: int) -> None:
        for architecture in ARCHITECTURES:
            tree = scratch / f"{number}-{architecture}"
            write_app(tree, number, architecture, 1)
            commit_app(repository, tree, number, architecture, gpg_options)
            shutil.rmtree(tree)

    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, _ in enumerate(pool.map(add, range(refs // len(ARCHITECTURES))), 1):
                if done * 4 % 400 == 0:
                    progress(f"{done * 4} of {refs} refs committed")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress(f"settling {refs} refs: static deltas, AppStream branches, summary")
    run([
        "flatpak", "build-update-repo", "--title=Flathub", "--default-branch=stable", "--generate-static-deltas",
        *gpg_options, repository,
    ])  # fmt: skip


def copy(source: Path, target: Path) -> None:
    """A copy that shares nothing with its source, as a publish must not change that."""
    run(["cp", "--archive", "--reflink=auto", source, target])
