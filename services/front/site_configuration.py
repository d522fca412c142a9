"""Makes nginx's configuration and the website from the inventory of the machine."""

import html
import ipaddress
import json
import re
import shutil
import string
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

ROLE = Path(__file__).resolve().parent
# The rest of the volume is for the files that nginx is writing, and for what a filesystem needs.
CACHE_SHARE = 0.8

_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_WORKER = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_URL = re.compile(r"https?://([a-z0-9.-]+)(:[0-9]{1,5})?", re.ASCII)
_REPOSITORY_URL = re.compile(_URL.pattern + "/repo/", re.ASCII)


class Template(string.Template):
    """Placeholders are @{name}: nginx uses the dollar sign itself, and an at sign nowhere."""

    delimiter = "@"


@dataclass(frozen=True)
class WorkerCertificate:
    """A certificate of the port for workers from outside: a worker's, or the port's own."""

    name: str
    expires: datetime


@dataclass(frozen=True)
class Inventory:
    """What the delivery says about this machine (generated/inventory.json)."""

    domain: str
    public_url: str
    repository_url: str
    master: str
    repo: str
    worker_proxy: WorkerCertificate
    # By the SHA-1 of the certificate, which is what nginx knows one by. Who is not in it gets nothing.
    workers: dict[str, WorkerCertificate]


@dataclass(frozen=True)
class Places:
    """Where things are on the machine; a test has them elsewhere."""

    # Where the release's own rendered files are, through the link that is switched with the release.
    directory: str = "/opt/flathub/current/rendered"
    cache: str = "/srv/cache"
    pid: str = "/run/nginx.pid"
    user: str = "www-data"
    listen: str = "80"
    worker_listen: str = "9990"
    secrets: str = "/etc/flathub/secrets"
    status: str = "/run/flathub-status"
    master_port: int = 8010
    master_worker_port: int = 9989
    repo_port: int = 80
    # The journal keeps the logs, and bounds them.
    error_log: str = "syslog:server=unix:/dev/log,nohostname,tag=nginx"
    access_log: str = "syslog:server=unix:/dev/log,nohostname,tag=nginx"


def parse_inventory(text: str) -> Inventory:
    """Check the inventory. Raises ValueError naming the key, the value and what was expected."""
    data = json.loads(text)
    keys = {"domain", "publicUrl", "master", "repo", "repositoryUrl", "workerProxy", "workers"}
    if not isinstance(data, dict) or data.keys() != keys:
        raise ValueError(f"inventory.json: expected an object with the keys {sorted(keys)}, got {data!r:.500}")

    def check(key: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(f"inventory.json: {key}: expected {expected}, got {data[key]!r:.200}")

    def is_text(key: str, pattern: re.Pattern[str]) -> bool:
        return isinstance(data[key], str) and pattern.fullmatch(data[key]) is not None

    def is_address(value: object) -> bool:
        try:
            return isinstance(value, str) and bool(ipaddress.IPv4Address(value))
        except ValueError:
            return False

    check("domain", is_text("domain", _DOMAIN), "a domain name in lower case")
    check("publicUrl", is_text("publicUrl", _URL), "http:// or https:// and a host, without a path")
    check("repositoryUrl", is_text("repositoryUrl", _REPOSITORY_URL), "http:// or https://, a host and /repo/")
    for key in ("master", "repo"):
        check(key, is_address(data[key]), "an IPv4 address")
    proxy = parse_certificate(data["workerProxy"], "workerProxy", {"name", "expires"}, _DOMAIN)
    check("workers", isinstance(data["workers"], list), "a list")
    workers = {}
    for i, worker in enumerate(data["workers"]):
        certificate = parse_certificate(worker, f"workers[{i}]", {"name", "fingerprint", "expires"}, _WORKER)
        fingerprint = worker["fingerprint"]
        if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint) or fingerprint in workers:
            raise ValueError(
                f"inventory.json: workers[{i}].fingerprint: expected 40 small hexadecimal digits that no other worker "
                f"has, got {fingerprint!r:.200}"
            )
        workers[fingerprint] = certificate
    return Inventory(
        domain=data["domain"],
        public_url=data["publicUrl"],
        repository_url=data["repositoryUrl"],
        master=data["master"],
        repo=data["repo"],
        worker_proxy=proxy,
        workers=workers,
    )


def parse_certificate(value: object, where: str, keys: set[str], name: re.Pattern[str]) -> WorkerCertificate:
    """Check what the inventory says of a certificate. Raises ValueError naming the key and what was expected."""
    if not isinstance(value, dict) or value.keys() != keys:
        raise ValueError(
            f"inventory.json: {where}: expected an object with the keys {sorted(keys)}, got {value!r:.200}"
        )
    if not isinstance(value["name"], str) or not name.fullmatch(value["name"]):
        raise ValueError(f"inventory.json: {where}.name: expected a name in lower case, got {value['name']!r:.200}")
    try:
        expires = datetime.fromisoformat(value["expires"])
        if expires.tzinfo is None:
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"inventory.json: {where}.expires: expected a time with its zone, got {value['expires']!r:.200}"
        ) from None
    return WorkerCertificate(value["name"], expires)


def render(inventory: Inventory, places: Places, cache_bytes: int) -> dict[str, str]:
    """nginx.conf and repository.conf, by name. `cache_bytes` is what the cache may hold."""
    values = {
        **asdict(places),
        "domain": inventory.domain,
        "public_url": inventory.public_url,
        "master": f"{inventory.master}:{places.master_port}",
        "repo": f"{inventory.repo}:{places.repo_port}",
        "master_workers": f"{inventory.master}:{places.master_worker_port}",
        "workers": "\n".join(
            f'        "{fingerprint}" "{worker.name}";' for fingerprint, worker in sorted(inventory.workers.items())
        ),
        "website": f"{places.directory}/website",
        "cache_megabytes": str(max(1, cache_bytes // 1024**2)),
    }
    names = ("nginx.conf", "repository.conf")
    return {name: Template((ROLE / "nginx" / name).read_text()).substitute(values) for name in names}


def render_website(inventory: Inventory, target: Path) -> None:
    """Copy the website to `target`, with the addresses of this Flathub in its pages."""
    values = {
        "domain": html.escape(inventory.domain),
        "repository_url": html.escape(inventory.repository_url),
    }
    shutil.copytree(ROLE / "website", target)
    for page in target.rglob("*.html"):
        page.write_text(Template(page.read_text(encoding="utf-8")).substitute(values), encoding="utf-8")


def _contents(directory: Path) -> dict[Path, bytes]:
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def write(inventory: Inventory, places: Places, cache_bytes: int, target: Path) -> None:
    """Write everything into the directory `target`, replacing it as a whole if anything is different.

    A delivery that is repeated writes into the release that is being served: what is as it should be is left alone.
    """
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name, content in render(inventory, places, cache_bytes).items():
        (new / name).write_text(content)
    render_website(inventory, new / "website")
    if target.is_dir() and _contents(target) == _contents(new):
        shutil.rmtree(new)
        return
    shutil.rmtree(target, ignore_errors=True)
    new.rename(target)
