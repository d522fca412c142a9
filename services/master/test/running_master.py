"""A master and its workers as processes of their own, with a make-believe GitHub on loopback; for tests only."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MASTER = Path(__file__).parent.parent
BUILDER = MASTER.parent / "builder"
ORGANIZATION = "flathub"
SECRET = "the hook's secret"
TOKEN = "token-of-github"
ARCHITECTURES = ("x86_64", "i386")
WORKERS = ("builder-1", "builder-2", "repo")
DEADLINE_SECONDS = 50.0

REQUEST_BUILD = """#!/bin/bash
# Takes the place of a build: packs the checkout; an app with a file fail-ARCHITECTURE fails.
set -euo pipefail
while [ $# -gt 0 ]; do declare "${1#--}=$2" 2>/dev/null || true; shift 2; done
if [ -e "$source/fail-$architecture" ]; then echo "no luck"; exit 1; fi
tar --create --file="$output" --exclude-vcs --directory="$source" .
"""

PUBLISH_REQUEST = """#!/bin/bash
# Takes the place of the publisher: keeps what it was asked to publish; refuses an app with "Refused" in its name.
set -euo pipefail
cp -r "{spool}/$1" "{published}/$(date +%s%N)-$1"
if grep -q Refused "{spool}/$1/job.json"; then echo "refused"; exit 1; fi
"""


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: str, condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> object:
    """Poll until the condition is true; what it returned. AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(0.05)
    return value


@dataclass
class GitHub:
    """Serves bare repositories to git and takes commit statuses."""

    folder: Path
    statuses: list[dict[str, str]] = field(default_factory=list)
    refuse: int = 0
    """How many of the next statuses get a 502."""

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.server.server_port}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[GitHub]:
        """Listen while the context lasts."""
        github = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                parts = self.path.strip("/").split("/")
                code = 404
                if parts[:3] == ["api", "v3", "repos"] and parts[5:6] == ["statuses"]:
                    code = 502 if github.refuse else 201
                    github.refuse = max(0, github.refuse - 1)
                    if code == 201:
                        authorization = self.headers["Authorization"]
                        known = {"app": parts[4], "commit": parts[6], "authorization": authorization}
                        github.statuses.append({**json.loads(body), **known})
                self.send_response(code)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_arguments: object) -> None:
                pass

        handler = functools.partial(Handler, directory=str(self.folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()

    def commit(self, app: str, files: dict[str, str]) -> str:
        """Make or extend an app's repository; the commit's name."""
        bare = self.folder / ORGANIZATION / f"{app}.git"
        work = self.folder / "work" / app
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        if not bare.exists():
            git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
            git("clone", "--quiet", str(bare), str(work))
        for name, content in files.items():
            (work / name).write_text(content)
        git("-C", str(work), "add", ".")
        git("-C", str(work), *identity, "commit", "--quiet", "--message", "A change")
        git("-C", str(work), "push", "--quiet", "origin", "HEAD:main")
        git("-C", str(bare), "update-server-info")
        return git("-C", str(work), "rev-parse", "HEAD").strip()

    def states(self, commit: str) -> dict[str, list[str]]:
        """The states of a commit in the order of their arrival, by context."""
        states: dict[str, list[str]] = {}
        for status in list(self.statuses):
            if status["commit"] == commit:
                states.setdefault(status["context"], []).append(status["state"])
        return states


def git(*arguments: str) -> str:
    """Run git, untouched by this user's settings."""
    environment = {**clean_environment(), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, env=environment).stdout


def clean_environment() -> dict[str, str]:
    """This process' environment without proxies and without what would tell a master of another Flathub."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith("FLATHUB_")
    }


@dataclass
class Flathub:
    """A running master with its workers."""

    folder: Path
    github: GitHub
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    web_port: int = field(default_factory=free_port)
    worker_port: int = field(default_factory=free_port)

    @property
    def published(self) -> list[Path]:
        """What the publisher was asked to publish, in order."""
        return sorted(path for path in (self.folder / "published").iterdir())

    def inventory(self, workers: dict[str, list[str]]) -> dict[str, object]:
        """The master's inventory with these workers and their architectures."""
        return {
            "domain": "flathub.test",
            "publicUrl": "http://flathub.test",
            "github": {"organization": ORGANIZATION, "url": self.github.url, "apiUrl": f"{self.github.url}/api/v3"},
            "repositoryUrl": "http://flathub.test/repo/",
            "publisher": "repo",
            "runtimeRemotes": {"runtimes": "http://runtimes.test/runtimes.flatpakrepo"},
            "workers": [
                {"name": name, "architectures": architectures, "maxBuilds": 1}
                for name, architectures in workers.items()
            ],
        }

    def configure(self, workers: dict[str, list[str]]) -> None:
        """Write the inventory and the secrets."""
        (self.folder / "inventory.json").write_text(json.dumps(self.inventory(workers)))
        secrets = self.folder / "secrets"
        secrets.mkdir(exist_ok=True)
        passwords = {name: f"password of {name}" for name in (*workers, "repo")}
        for name, content in {
            "change-hook-secret": SECRET,
            "github-token": TOKEN,
            "worker-passwords.json": json.dumps(passwords),
        }.items():
            (secrets / name).write_text(content)

    def environment(self) -> dict[str, str]:
        """What the master is told."""
        return {
            **clean_environment(),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FLATHUB_MASTER_CFG": str(MASTER / "master.cfg"),
            "FLATHUB_INVENTORY": str(self.folder / "inventory.json"),
            "FLATHUB_SECRETS": str(self.folder / "secrets"),
            "FLATHUB_DATABASE": "sqlite:///state.sqlite",
            "FLATHUB_PB_PORT": f"tcp:{self.worker_port}:interface=127.0.0.1",
            "FLATHUB_WEB_PORT": f"tcp:{self.web_port}:interface=127.0.0.1",
            "FLATHUB_READY_FILE": str(self.folder / "ready"),
            "FLATHUB_UPLOADS": str(self.folder / "uploads"),
            "FLATHUB_SPOOL": str(self.folder / "spool"),
            "FLATHUB_WORKER_ROLE": str(self.folder / "role"),
        }

    def spawn(self, name: str, base: Path, tac: Path, environment: dict[str, str]) -> None:
        """Start a Twisted application."""
        command = [str(Path(sys.executable).parent / "twistd"), "--nodaemon", "--pidfile=", f"--python={tac}"]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=base, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start all and wait until the workers are there."""
        for name in ("master", "uploads", "spool", "published", "role"):
            (self.folder / name).mkdir()
        for name, text in {
            "request-build": REQUEST_BUILD,
            "publish-request": PUBLISH_REQUEST.replace("{spool}", str(self.folder / "spool")).replace(
                "{published}", str(self.folder / "published")
            ),
        }.items():
            (self.folder / "role" / name).write_text(text)
            (self.folder / "role" / name).chmod(0o755)
        self.configure({"builder-1": ["i386"], "builder-2": ["x86_64"]})
        base = self.folder / "master"
        (base / "buildbot.tac").symlink_to(MASTER / "buildbot.tac")
        upgrade = [str(Path(sys.executable).parent / "buildbot"), "upgrade-master", "--quiet", str(base)]
        made = subprocess.run(upgrade, env=self.environment(), cwd=base, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        self.spawn("master", base, base / "buildbot.tac", self.environment())
        for name in WORKERS:
            self.start_worker(name)
        wait_for("the master serves and has its workers", self.connected)

    def start_worker(self, name: str) -> None:
        """Start the worker of a machine, with the application of builders."""
        base = self.folder / name
        base.mkdir()
        (base / "inventory.json").write_text(json.dumps({"master": "127.0.0.1", "name": name}))
        (base / "worker-password").write_text(f"password of {name}")
        environment = {
            **clean_environment(),
            "FLATHUB_INVENTORY": str(base / "inventory.json"),
            "FLATHUB_PB_PORT": str(self.worker_port),
            "CREDENTIALS_DIRECTORY": str(base),
        }
        self.spawn(name, base, BUILDER / "buildbot.tac", environment)

    def connected(self) -> bool:
        """Whether all workers are there."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended:\n{(self.folder / f'{name}.log').read_text()[-4000:]}")
        try:
            workers = self.get("workers")["workers"]
        except OSError:
            return False
        there = {worker["name"] for worker in workers if worker["connected_to"]}
        return there.issuperset(WORKERS)

    def stop(self) -> None:
        """End what was started."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def reconfigure(self, workers: dict[str, list[str]]) -> None:
        """Have the master take over other workers; returns when it has."""
        self.configure(workers)
        ready = self.folder / "ready"
        before = ready.stat().st_mtime_ns
        self.processes["master"].send_signal(signal.SIGHUP)
        wait_for("the reconfiguration", lambda: ready.stat().st_mtime_ns != before)

    def request(self, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of the web service's answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.web_port}/{path}", data=data, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def get(self, path: str) -> dict[str, list[dict[str, object]]]:
        """What the API says."""
        status, body = self.request(f"api/v2/{path}")
        if status != 200:
            raise ConnectionError(f"{path}: HTTP {status}")
        return json.loads(body)

    def changes(self) -> int:
        """How many pushes were taken."""
        return len(self.get("changes")["changes"])

    def push(
        self, app: str, commit: str, branch: str = "main", delivery: str | None = None, secret: str = SECRET
    ) -> tuple[int, bytes]:
        """Send the webhook of a push as GitHub does."""
        page = f"{self.github.url}/{ORGANIZATION}/{app}"
        body = json.dumps(
            {
                "ref": f"refs/heads/{branch}",
                "after": commit,
                "repository": {"full_name": f"{ORGANIZATION}/{app}", "default_branch": "main", "html_url": page},
                "head_commit": {"id": commit, "message": f"Update {app}\n\nmore", "author": {"name": "A. Hacker"}},
            }
        ).encode()
        return self.hook(body, secret, {"X-GitHub-Delivery": delivery or str(uuid.uuid4())})

    def hook(self, body: bytes, secret: str = SECRET, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Send a signed body to the change hook; ``headers`` replace those of a push."""
        return self.request(
            "change_hook/github",
            body,
            {
                "Content-Type": "application/json",
                "X-GitHub-Event": "push",
                "X-GitHub-Delivery": str(uuid.uuid4()),
                "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
                **(headers or {}),
            },
        )
