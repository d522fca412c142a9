"""A commit of an app's repository with its submodules, as plain files: git's own are gone afterwards.

Everything is a stranger's: the tree, the addresses in .gitmodules and the servers there. So git knows no other
configuration than what is given here, runs nothing, and writes only what was counted before.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import stat
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .disk import MAX_SOURCE, MAX_SOURCE_FILE_BYTES, Space, readable
from .job import REPOSITORY

ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    # Over what a configuration may say, for redirects too.
    "GIT_ALLOW_PROTOCOL": "http:https",
}
SETTINGS = (
    f"core.attributesFile={os.devnull}",
    "gc.auto=0",
    "maintenance.auto=false",
    # In bytes and seconds: slower for so long is over.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)

MAX_REPOSITORIES = 500
"""The app's own and its submodules'."""

AWAY_SECONDS = 90.0
"""For how long a network or a server that is away is tried again, from the first failure on."""

PAUSE_SECONDS = 5.0

MAX_ERROR_BYTES = 2000
"""What is kept of git's complaints, from the end."""

AWAY = re.compile(
    r"Could not resolve host|Resolving timed out|Failed to connect|Could(n't| not) connect|Connection (timed out|reset|"
    r"refused)|Operation t(imed out|oo slow)|Recv failure|Send failure|Empty reply|transfer closed|early EOF|"
    r"unexpected disconnect|returned error: (5\d\d|429)|SSL_ERROR_SYSCALL|[Hh]andshake"
)
"""git's and curl's words for what may be better in a minute."""

WHOLE_ONLY = re.compile(
    r"dumb http transport does not support|does not allow request for unadvertised|does not support shallow"
)
"""What git says of a server that gives branches and tags only."""


class CheckoutError(Exception):
    """The commit can't be checked out; the message says why."""


@dataclass(frozen=True)
class Part:
    """A repository of the checkout and the folder for it, relative to the app's."""

    url: str
    commit: str
    folder: str


class Checkout:
    """Fills the current folder; ``git_dir`` is where git may keep its own files meanwhile."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self.size = Space(0, 0)

    def run(self, url: str, commit: str) -> None:
        """Check out the commit and all its submodules. Raises CheckoutError."""
        parts = deque([Part(url, commit, ".")])
        known = 1
        while parts:
            part = parts.popleft()
            print(f"{part.folder}: {part.url} {part.commit}", flush=True)
            self.git("init", "--quiet", "--bare", "--template=")
            self.fetch(part)
            links = self.count(part)
            # git refuses names that lead out or to its own files, and writes through no link of this tree.
            work_tree = f"--work-tree={plain_folder(part.folder)}"
            self.git(work_tree, "checkout", "--quiet", "--detach", part.commit)
            parts.extend(self.submodules(part, links) if links else ())
            known += len(links)
            if known > MAX_REPOSITORIES:
                raise CheckoutError(f"more than {MAX_REPOSITORIES} submodules")
            shutil.rmtree(self.git_dir)
        if os.path.lexists("HEAD"):
            # With two folders beside it this one would pass for a repository, whose configuration git obeys.
            raise CheckoutError(
                "there is a HEAD at the top of the repository; an app's sources must not look like git's"
            )

    def command(self, *arguments: str) -> list[str]:
        """git's command line."""
        settings = [part for one in SETTINGS for part in ("-c", one)]
        return ["git", *settings, f"--git-dir={self.git_dir}", *arguments]

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start git."""
        environment = {**os.environ, **ENVIRONMENT}
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL, env=environment, **options)

    def git(self, *arguments: str) -> bytes:
        """What git prints; its complaints go to the log. Raises CheckoutError if it fails."""
        with self.start(*arguments, stdout=subprocess.PIPE) as process:
            printed, _ = process.communicate()
        if process.returncode != 0:
            raise CheckoutError(f"git failed with exit status {process.returncode}; see above")
        return printed

    def fetch(self, part: Part) -> None:
        """Fetch the commit and no other; all branches and tags where the server gives no single commit.

        git names an object by its content, so what has the commit's name is the commit.
        """
        one = ["--depth=1", "--", part.url, part.commit]
        everything = ["--", part.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        what, away_since = one, None
        while error := self.try_to_fetch(what):
            if what is one and WHOLE_ONLY.search(error):
                what = everything
                continue
            if "not our ref" in error:
                raise CheckoutError(f"{part.url} has no commit {part.commit}")
            if not AWAY.search(error):
                raise CheckoutError(f"{part.url} can't be fetched:\n{error}")
            now = time.monotonic()
            if away_since is None:
                away_since = now
                print(f"the network or the server is away; trying again for {AWAY_SECONDS:.0f} seconds", flush=True)
            if now - away_since >= AWAY_SECONDS:
                raise CheckoutError(f"{part.url}: the network or the server stayed away:\n{error}")
            time.sleep(PAUSE_SECONDS)
        with self.start("cat-file", "-t", part.commit, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            kind, _ = process.communicate()
        if kind != b"commit\n":
            raise CheckoutError(f"{part.url} has no commit {part.commit}")

    def try_to_fetch(self, what: list[str]) -> str:
        """Fetch once; the end of git's complaints, empty if there is nothing to complain about."""
        kept = b""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        with self.start("fetch", *options, *what, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            while chunk := os.read(process.stderr.fileno(), 4096):
                kept = (kept + chunk)[-MAX_ERROR_BYTES:]
        if process.returncode == 0:
            return ""
        return kept.decode(errors="replace").strip() or f"git ended with {process.returncode}"

    def count(self, part: Part) -> dict[str, str]:
        """Add up what a commit would write, before it is written; its submodules, folder to commit.

        A tree of a few kilobytes can have more files than there are names in use.
        """
        links = {}
        with self.start("ls-tree", "-r", "-t", "-l", "-z", part.commit, stdout=subprocess.PIPE) as process:
            try:
                for entry in entries(process):
                    about, _, name = entry.partition(b"\t")
                    _mode, kind, commit, size = about.split()
                    if kind == b"commit":
                        links[os.fsdecode(name)] = commit.decode()
                    added = int(size) if size.isdigit() else 0
                    self.size = Space(self.size.bytes + added, self.size.files + 1)
                    if added > MAX_SOURCE_FILE_BYTES:
                        raise CheckoutError(f"a file has more than {readable(MAX_SOURCE_FILE_BYTES)}")
                    if self.size.bytes > MAX_SOURCE.bytes:
                        raise CheckoutError(f"the files have more than {readable(MAX_SOURCE.bytes)}")
                    if self.size.files > MAX_SOURCE.files:
                        raise CheckoutError(f"there are more than {MAX_SOURCE.files} files and folders")
            except CheckoutError:
                process.kill()
                raise
        if process.returncode != 0:
            raise CheckoutError(f"git failed with exit status {process.returncode}; see above")
        return links

    def submodules(self, part: Part, links: dict[str, str]) -> Iterator[Part]:
        """The submodules of a repository that was checked out."""
        listed = self.git("config", f"--blob={part.commit}:.gitmodules", "--null", "--list")
        modules: dict[str, dict[str, str]] = {}
        for item in os.fsdecode(listed).split("\0"):
            key, _, value = item.partition("\n")
            match = re.fullmatch(r"submodule\.(.*)\.(path|url|update)", key, re.DOTALL)
            if match:
                modules.setdefault(match[1], {})[match[2]] = value
        by_folder = {module["path"].rstrip("/"): module for module in modules.values() if "path" in module}
        for folder, commit in links.items():
            where = posixpath.normpath(posixpath.join(part.folder, folder))
            module = by_folder.get(folder, {})
            if module.get("update") == "none":
                continue
            if "url" not in module:
                raise CheckoutError(f"{where}: .gitmodules has no address of this submodule")
            yield Part(absolute(part.url, module["url"]), commit, where)


def entries(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What a process prints, without the NUL that ends each."""
    assert process.stdout is not None
    rest = b""
    while chunk := os.read(process.stdout.fileno(), 64 * 1024):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole


def absolute(parent: str, url: str) -> str:
    """A submodule's address; one that begins with a dot is relative to its parent's."""
    found = url
    if url.startswith(("./", "../")):
        base = urlsplit(parent)
        found = urlunsplit(base._replace(path=posixpath.normpath(posixpath.join(base.path, url))))
    if not REPOSITORY.fullmatch(found):
        raise CheckoutError(f"submodule {url!r}: expected an http(s) address without a user's name")
    return found


def plain_folder(folder: str) -> str:
    """The folder itself, if neither it nor any above it is a link."""
    path = ""
    for name in folder.split("/"):
        path = posixpath.join(path, name)
        if name == ".." or not stat.S_ISDIR(os.lstat(path).st_mode):
            raise CheckoutError(f"{folder}: {path} is no folder")
    return path
