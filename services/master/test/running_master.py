"""A master and its workers as processes of their own, with a make-believe GitHub on loopback; for tests only."""

from __future__ import annotations

import contextlib
import datetime
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
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MASTER = Path(__file__).parent.parent
ORGANIZATION = "flathub"
SECRET = "the hook's secret"
TOKEN = "token-of-github"
BUILDERS = {"builder-1": ["i386"], "builder-2": ["x86_64"]}
MAX_BUILDS = {"builder-2": 2}
ARCHITECTURES = ("x86_64", "i386")
WORKERS = (*BUILDERS, "repo")
DEADLINE_SECONDS = 90.0
STOP_SECONDS = 60.0
"""`TimeoutStopSec=` of the master's unit."""
STALL_SECONDS = 4
WORKER_SILENCE_SECONDS = 9
MAX_UPLOAD_BYTES = 128 * 1024**2

REQUEST_BUILD = """#!/bin/bash
# Takes the place of a build: packs the commit. Files in it say what else happens:
# fail-ARCHITECTURE: it fails; hold: it waits until the test lets the app go on; size: it grows to so many bytes.
set -euo pipefail
while [ $# -gt 0 ]; do
	if [[ $1 == --subject=* ]]; then shift; continue; fi
	name=${1#--}
	declare "${name//-/_}=$2"
	shift 2
done
source=$(mktemp --directory "{folder}/source.XXXXXX")
trap 'rm -r "$source"' EXIT
git clone --quiet "$repository" "$source"
git -C "$source" checkout --quiet --detach "$commit"
if [ -e "$source/fail-$architecture" ]; then echo "no luck"; exit 1; fi
if [ -e "$source/hold" ]; then
	touch "{folder}/held/$app.$architecture.$build_id"
	until [ -e "{folder}/go/$app" ]; do sleep 0.1; done
fi
if [ -e "$source/size" ]; then truncate --size="$(cat "$source/size")" "$source/ballast"; fi
tar --create --file="$output" --exclude-vcs --directory="$source" .
"""

PUBLISH_REQUEST = """#!/bin/bash
# Takes the place of the publisher: keeps what it was asked to publish; refuses an app with "Refused" in its name.
# What it was asked for waits in a queue as long as the test has the key locked.
set -euo pipefail
spool="{folder}/spool/$2" queue="{folder}/queue/$2"
case "$1" in
room)
	if [ -e "{folder}/full" ]; then echo "no room for $2 bytes"; exit 1; fi
	;;
publish)
	if [ -e "$spool" ]; then
		for tar in "$spool"/*.tar; do
			architecture=$(basename "$tar" .tar)
			grep --quiet "$architecture.: .$(sha256sum "$tar" | cut -c 1-64)" "$spool/job.json"
		done
		rm -rf "$queue"
		mv "$spool" "$queue"
	fi
	if [ ! -e "$queue" ]; then echo "there is no job $2"; exit 1; fi
	while [ -e "{folder}/locked" ]; do sleep 0.1; done
	published="{folder}/published/$(date +%s%N)-$2"
	mv "$queue" "$published"
	if grep --quiet Refused "$published/job.json"; then echo "refused"; exit 1; fi
	;;
withdraw)
	rm -r "$queue"
	;;
*)
	echo "unknown: $1"
	exit 2
	;;
esac
"""


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(
    what: str, condition: Callable[[], object], seconds: float = DEADLINE_SECONDS, pause: float = 0.05
) -> object:
    """Poll, with pauses of some seconds, until the condition is true; what it returned. AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(pause)
    return value


@dataclass
class GitHub:
    """Serves bare repositories to git, takes commit statuses, and answers what the master asks of the API."""

    folder: Path
    statuses: list[dict[str, str]] = field(default_factory=list)
    refuse: int = 0
    """How many of the next statuses get a 502."""
    limit: int = 0
    """How many of the next reads get a 429 that asks to wait for a second."""
    pushed_at: dict[str, datetime.datetime] = field(default_factory=dict)
    """The repositories that the organisation's list has, with their last push."""
    reads: list[str] = field(default_factory=list)
    """The paths of the API that were read."""
    renamed: dict[str, str] = field(default_factory=dict)
    """App → what its branch `main` is called now."""
    token: str = TOKEN
    """The token that may ask."""

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
                    authorization = self.headers["Authorization"]
                    if authorization != f"token {github.token}":
                        code = 401
                    if code == 201:
                        known = {"app": parts[4], "commit": parts[6], "authorization": authorization}
                        github.statuses.append({**json.loads(body), **known})
                self.send_response(code)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                if not url.path.startswith("/api/v3/"):
                    super().do_GET()
                    return
                github.reads.append(self.path)
                headers = {}
                if github.limit:
                    github.limit -= 1
                    code, body, headers = 429, b"{}", {"Retry-After": "1"}
                elif self.headers["Authorization"] != f"token {github.token}":
                    code, body = 401, b"{}"
                else:
                    parts = url.path.removeprefix("/api/v3/").split("/")
                    query = dict(urllib.parse.parse_qsl(url.query))
                    code, body, headers = github.read(parts, query, self.headers["Accept"])
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

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

    def read(self, parts: list[str], query: dict[str, str], accept: str) -> tuple[int, bytes, dict[str, str]]:
        """What the API says: status, body, further headers."""
        match parts:
            case ["orgs", organization, "repos"] if organization == ORGANIZATION and query.get("sort") == "pushed":
                apps = sorted(self.pushed_at, key=lambda app: self.pushed_at[app], reverse=True)
                size, page = int(query["per_page"]), int(query.get("page", "1"))
                listed = [
                    {"name": app, "default_branch": "main", "pushed_at": self.pushed_at[app].strftime("%FT%TZ")}
                    for app in apps[size * (page - 1) : size * page]
                ]
                headers = {}
                if len(apps) > size * page:
                    following = urllib.parse.urlencode({**query, "page": page + 1})
                    headers["Link"] = f'<{self.url}/api/v3/orgs/{organization}/repos?{following}>; rel="next"'
                return 200, json.dumps(listed).encode(), headers
            case ["repos", owner, app, "contents", path] if accept == "application/vnd.github.raw+json":
                shown = subprocess.run(
                    ["git", "-C", str(self.folder / owner / f"{app}.git"), "show", f"{query['ref']}:{path}"],
                    capture_output=True,
                    check=False,
                )
                return (200, shown.stdout, {}) if shown.returncode == 0 else (404, b"{}", {})
            case ["repos", _owner, app]:
                return 200, json.dumps({"default_branch": self.renamed.get(app, "main")}).encode(), {}
            case ["repos", _owner, app, "branches", "main"] if app in self.renamed:
                return 301, b"{}", {"Location": f"{self.url}/api/v3/repositories/1/branches/{self.renamed[app]}"}
            case ["repos", owner, app, "branches", branch] if branch == self.renamed.get(app, "main"):
                commit = git("-C", str(self.folder / owner / f"{app}.git"), "rev-parse", "main").strip()
                page = f"{self.url}/{owner}/{app}/commit/{commit}"
                made = {"message": "A change", "author": {"name": "Test"}}
                return 200, json.dumps({"commit": {"sha": commit, "commit": made, "html_url": page}}).encode(), {}
            case ["repos", _owner, _app, "commits", commit, "status"]:
                last = {status["context"]: status for status in self.statuses if status["commit"] == commit}
                return 200, json.dumps({"statuses": list(last.values())}).encode(), {}
        return 404, b"{}", {}

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
        git("-C", str(work), *identity, "commit", "--quiet", "--message", f"A change of {app}")
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
            "publicUrl": "http://flathub.test",
            "github": {"organization": ORGANIZATION, "url": self.github.url, "apiUrl": f"{self.github.url}/api/v3"},
            "publisher": "repo",
            "workers": [
                {"name": name, "architectures": architectures, "maxBuilds": MAX_BUILDS.get(name, 1)}
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
            "FLATHUB_STOP_FOLDER": str(self.folder / "stop"),
            "FLATHUB_STALL_SECONDS": str(STALL_SECONDS),
            "FLATHUB_WORKER_SILENCE_SECONDS": str(WORKER_SILENCE_SECONDS),
            "FLATHUB_MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES),
            "FLATHUB_UPLOAD_RESERVE_BYTES": "0",
            "FLATHUB_RECONCILE_SECONDS": "1",
        }

    def spawn(self, name: str, base: Path, tac: Path, environment: dict[str, str]) -> None:
        """Start a Twisted application."""
        command = [str(Path(sys.executable).parent / "twistd"), "--nodaemon", "--pidfile=", f"--python={tac}"]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=base,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start all and wait until the workers are there."""
        for name in ("master", "uploads", "spool", "queue", "published", "role", "held", "go", *WORKERS):
            (self.folder / name).mkdir()
        for name, text in {"request-build": REQUEST_BUILD, "publish-request": PUBLISH_REQUEST}.items():
            (self.folder / "role" / name).write_text(text.replace("{folder}", str(self.folder)))
            (self.folder / "role" / name).chmod(0o755)
        self.configure(BUILDERS)
        base = self.folder / "master"
        (base / "buildbot.tac").symlink_to(MASTER / "buildbot.tac")
        upgrade = [str(Path(sys.executable).parent / "buildbot"), "upgrade-master", "--quiet", str(base)]
        made = subprocess.run(upgrade, env=self.environment(), cwd=base, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        self.start_master()
        for name in WORKERS:
            self.start_worker(name)
        wait_for("the master serves and has its workers", self.connected)

    def start_master(self) -> None:
        """Start the master."""
        base = self.folder / "master"
        self.spawn("master", base, base / "buildbot.tac", self.environment())

    def stop_build(self, *arguments: str) -> str:
        """What the operator's command says."""
        environment = {
            **clean_environment(),
            "FLATHUB_API": f"http://127.0.0.1:{self.web_port}/api/v2",
            "FLATHUB_STOP_FOLDER": str(self.folder / "stop"),
        }
        command = [sys.executable, "-B", str(MASTER / "stop-build"), *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def kill(self, name: str) -> None:
        """End a process as a power cut does, with all that it started."""
        os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes.pop(name).wait()

    def shut_down(self, name: str) -> None:
        """End a process as its unit does."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start_worker(self, name: str) -> None:
        """Start the worker of a machine."""
        environment = {
            **clean_environment(),
            "MASTER_PORT": str(self.worker_port),
            "WORKER_NAME": name,
            "WORKER_PASSWORD": f"password of {name}",
        }
        self.spawn(name, self.folder / name, Path(__file__).parent / "worker.tac", environment)

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
            process.send_signal(signal.SIGCONT)
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

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def held(self, app: str) -> list[str]:
        """The builds of an app that wait for the test: ARCHITECTURE.BUILD-ID."""
        return sorted(path.name.removeprefix(f"{app}.") for path in (self.folder / "held").glob(f"{app}.*"))

    def let_go(self, app: str) -> None:
        """Have the held builds of an app go on."""
        (self.folder / "go" / app).touch()

    def changes(self) -> int:
        """How many pushes were taken."""
        return len(self.get("changes")["changes"])

    def final_states(self, commit: str, contexts: set[str], seconds: float = DEADLINE_SECONDS) -> dict[str, list[str]]:
        """All states of each context, once each of exactly these has a final one."""

        def states() -> dict[str, list[str]] | None:
            known = self.github.states(commit)
            done = {context for context, each in known.items() if each[-1] != "pending"}
            return known if done == contexts else None

        return wait_for(f"final statuses of {commit}", states, seconds)

    def description(self, commit: str, context: str) -> str:
        """What the last status of a context says."""
        said = [status for status in self.github.statuses if (status["commit"], status["context"]) == (commit, context)]
        return said[-1]["description"]

    def publishes_of(self, commit: str) -> list[Path]:
        """The requests to publish a commit."""
        return [path for path in self.published if json.loads((path / "job.json").read_text())["commit"] == commit]

    def payload(self, app: str, commit: str) -> dict[str, object]:
        """What GitHub tells of a push."""
        page = f"{self.github.url}/{ORGANIZATION}/{app}"
        return {
            "ref": "refs/heads/main",
            "after": commit,
            "repository": {"full_name": f"{ORGANIZATION}/{app}", "default_branch": "main", "html_url": page},
            "head_commit": {"id": commit, "message": f"Update {app}\n\nmore", "author": {"name": "A. Hacker"}},
        }

    def push(
        self, app: str, commit: str, delivery: str | None = None, secret: str = SECRET, **changed: object
    ) -> tuple[int, bytes]:
        """Send the webhook of a push as GitHub does; ``changed`` replaces fields of the payload."""
        body = json.dumps({**self.payload(app, commit), **changed}).encode()
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
