"""What the master knows of the other machines: generated/inventory.json and the secrets, checked strictly."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APP_ID = re.compile(r"(?=.{3,255}\Z)[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\.[A-Za-z_][A-Za-z0-9_-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?")
ARCHITECTURES = ("x86_64", "i386", "aarch64", "arm")


class InventoryError(ValueError):
    """All that is wrong with the inventory or a secret, a line each: field, value, what was expected."""


@dataclass(frozen=True)
class GitHub:
    """Where the app repositories are."""

    organization: str
    url: str
    api_url: str


@dataclass(frozen=True)
class BuilderWorker:
    """A machine that builds; ``max_builds`` is how many builds it runs at once."""

    name: str
    architectures: tuple[str, ...]
    max_builds: int


@dataclass(frozen=True)
class Inventory:
    """The machines and addresses of one Flathub."""

    public_url: str
    github: GitHub
    publisher: str
    workers: tuple[BuilderWorker, ...]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Every architecture that some worker builds, in a fixed order."""
        offered = {architecture for worker in self.workers for architecture in worker.architectures}
        return tuple(architecture for architecture in ARCHITECTURES if architecture in offered)

    def slots(self, architecture: str) -> int:
        """How many builds of an architecture the most capable of its workers runs at once."""
        return max(worker.max_builds for worker in self.workers if architecture in worker.architectures)

    def workers_for(self, architecture: str, slot: int) -> tuple[str, ...]:
        """Names of the workers that run at least ``slot`` builds of an architecture at once; slots count from 1."""
        return tuple(
            worker.name for worker in self.workers if architecture in worker.architectures and worker.max_builds >= slot
        )


@dataclass(frozen=True)
class Secrets:
    """What the master must keep to itself."""

    worker_passwords: Mapping[str, str]
    github_token: str

    def __repr__(self) -> str:
        return "Secrets(…)"


class Checker:
    """Collects every fault of a JSON document, so that one run of a check names them all."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.faults: list[str] = []

    def fault(self, field: str, expected: str, value: object) -> None:
        """Note a fault of a field."""
        self.faults.append(
            f"{self.where}: {field or 'top level'}: expected {expected}, found {json.dumps(value)[:100]}"
        )

    def mapping(self, value: object, field: str, keys: tuple[str, ...]) -> Mapping[str, object]:
        """An object with exactly these keys."""
        if not isinstance(value, dict):
            self.fault(field, "an object", value)
            return {}
        for key in sorted(set(value) - set(keys)):
            self.faults.append(
                f"{self.where}: {field + '.' if field else ''}{key}: unknown key; known: {', '.join(keys)}"
            )
        for key in keys:
            if key not in value:
                self.faults.append(f"{self.where}: {field + '.' if field else ''}{key}: missing")
        return value

    def text(self, value: object, field: str, pattern: re.Pattern[str], expected: str) -> str:
        """A string that matches a pattern as a whole."""
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.fault(field, expected, value)
            return ""
        return value

    def finish(self) -> None:
        """Raise what was found."""
        if self.faults:
            raise InventoryError("\n".join(self.faults))


def parse_inventory(document: object, where: str = "inventory.json") -> Inventory:
    """Check and convert the inventory; InventoryError names every fault."""
    check = Checker(where)
    top = check.mapping(document, "", ("publicUrl", "github", "publisher", "workers"))
    hub = check.mapping(top.get("github"), "github", ("organization", "url", "apiUrl"))
    url = "an http(s) address"
    github = GitHub(
        organization=check.text(
            hub.get("organization"), "github.organization", re.compile(r"[A-Za-z0-9-]{1,39}"), "a GitHub organisation"
        ),
        url=check.text(hub.get("url"), "github.url", URL, url).rstrip("/"),
        api_url=check.text(hub.get("apiUrl"), "github.apiUrl", URL, url).rstrip("/"),
    )
    publisher = check.text(top.get("publisher"), "publisher", NAME, "a machine's name")

    workers: list[BuilderWorker] = []
    entries = top.get("workers")
    if not isinstance(entries, list) or not entries:
        check.fault("workers", "a list that is not empty", entries)
        entries = []
    for index, entry in enumerate(entries):
        field = f"workers[{index}]"
        one = check.mapping(entry, field, ("name", "architectures", "maxBuilds"))
        name = check.text(one.get("name"), f"{field}.name", NAME, "a machine's name")
        if name and (name in [worker.name for worker in workers] or name == publisher):
            check.fault(f"{field}.name", "a name that no other worker has", name)
        architectures = one.get("architectures")
        if (
            not isinstance(architectures, list)
            or not architectures
            or not all(isinstance(item, str) and item in ARCHITECTURES for item in architectures)
            or len(set(architectures)) != len(architectures)
        ):
            check.fault(f"{field}.architectures", f"some of {', '.join(ARCHITECTURES)}, each once", architectures)
            architectures = []
        builds = one.get("maxBuilds")
        if not isinstance(builds, int) or isinstance(builds, bool) or not 1 <= builds <= 16:
            check.fault(f"{field}.maxBuilds", "a whole number from 1 to 16", builds)
            builds = 1
        workers.append(BuilderWorker(name, tuple(architectures), builds))

    inventory = Inventory(
        public_url=check.text(top.get("publicUrl"), "publicUrl", URL, url).rstrip("/"),
        github=github,
        publisher=publisher,
        workers=tuple(workers),
    )
    check.finish()
    return inventory


def load_inventory(path: Path) -> Inventory:
    """Read the inventory from a file."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise InventoryError(f"{path}: no such file") from None
    except json.JSONDecodeError as error:
        raise InventoryError(f"{path}: not JSON: {error}") from None
    return parse_inventory(document, path.name)


def read_secret(folder: Path, name: str) -> str:
    """The content of a secret without its last newline; InventoryError if it is missing or empty."""
    path = folder / name
    try:
        content = path.read_text().rstrip("\n")
    except FileNotFoundError:
        raise InventoryError(f"secret {name}: no such file in {folder}; deliver this machine's secrets again") from None
    if not content.strip():
        raise InventoryError(f"secret {name}: is empty")
    return content


def load_secrets(folder: Path, inventory: Inventory) -> Secrets:
    """Read the secrets; every worker of the inventory must have a password, and nobody else."""
    check = Checker("secret worker-passwords.json")
    try:
        passwords = json.loads(read_secret(folder, "worker-passwords.json"))
    except json.JSONDecodeError as error:
        raise InventoryError(f"secret worker-passwords.json: not JSON (line {error.lineno})") from None
    names = (*sorted(worker.name for worker in inventory.workers), inventory.publisher)
    given = check.mapping(passwords, "", names)
    for name in names:
        password = given.get(name)
        if name in given and (not isinstance(password, str) or len(password) < 12):
            check.faults.append(f"{check.where}: {name}: expected a string of at least 12 characters")
    check.finish()
    read_secret(folder, "change-hook-secret")
    return Secrets({name: str(given[name]) for name in names}, read_secret(folder, "github-token"))
