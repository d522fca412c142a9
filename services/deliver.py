"""Put one release of a role into service on this machine, or leave everything as it was.

Run as root from inside an unpacked release (/opt/flathub/releases/HASH/) with a JSON object on standard input:
``{"secrets": {"FILE NAME": "CONTENT"}}``. The release holds ``role/`` (what runs) and ``generated/`` (what was derived
from the inventory). Only the standard library of Python 3.11 or newer is used.

In order: the new secrets are laid beside the old ones, ``role/prepare`` and ``role/check`` run (nothing that is in
service has been touched so far; a failure ends here), then secrets, ``/opt/flathub/current``, units, hosts,
authorised keys and firewall are switched and ``role/activate`` runs. If that fails the release before is put back and
activated. It can be killed at any point and repeated: what counts as the release before is the last one whose
activation succeeded, so a hook that compares with it restarts all that an interrupted run left half done.

On a machine that is somebody else's (``generated/guest.json``) Flathub is a guest: its keys are a block among the
owner's, and its firewall a table of its own.

Hooks are executables, run in the release's folder with these variables:

FLATHUB_RELEASE          folder of the release
FLATHUB_PREVIOUS         folder of the last activated release, the same as FLATHUB_RELEASE for a repetition, or empty
FLATHUB_SECRETS          folder with the secrets to use
FLATHUB_CHANGED_SECRETS  names of the secrets that differ from those last activated, separated by blanks

Exit status: 0 in service; 1 refused, nothing changed; 2 activation failed, the release before is back in service;
3 activation failed and so did putting the release before back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOCK_TIMEOUT_SECONDS = 120.0
HOOK_TIMEOUT_SECONDS = {"prepare": 900.0, "check": 300.0, "activate": 1800.0}
GENERATED_FILES = ("inventory.json", "nftables.conf", "hosts", "authorized_keys")
SECRET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")
RELEASE_NAME = re.compile(r"[0-9a-zA-Z._-]{1,100}")
HOSTS_BEGIN = "# begin: names of the inventory"
HOSTS_END = "# end: names of the inventory"
KEYS_BEGIN = "# begin: keys of Flathub"
KEYS_END = "# end: keys of Flathub"


class DeliveryError(Exception):
    """Something is wrong with the release, its secrets or this machine; the message says what, where and what to do."""


def say(message: str) -> None:
    """Print a line of progress at once: a remote caller reads it through a pipe."""
    print(f"deliver: {message}", flush=True)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replace a file in one step; a reader sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    temporary.rename(path)


def read_file(path: Path) -> bytes | None:
    """The content of a file, None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_secrets(text: str) -> dict[str, str]:
    """Parse and check what arrived on standard input.

    Messages name fields, never contents.
    """
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        raise DeliveryError(
            f"standard input is not JSON (line {error.lineno}, column {error.colno}); expected "
            '{"secrets": {"NAME": "CONTENT"}}'
        ) from None
    if not isinstance(request, dict) or set(request) != {"secrets"} or not isinstance(request["secrets"], dict):
        raise DeliveryError('standard input: expected exactly {"secrets": {"NAME": "CONTENT"}}')
    for name, content in request["secrets"].items():
        if not SECRET_NAME.fullmatch(name):
            raise DeliveryError(f"standard input: secrets: {name!r} is not a file name of lower case, digits, '.', '-'")
        if not isinstance(content, str) or not content:
            raise DeliveryError(f"standard input: secrets.{name}: expected a string that is not empty")
    return request["secrets"]


def replace_block(text: str, begin: str, end: str, block: str) -> str:
    """The text of a file with a marked block replaced, or appended where there is none; an empty block is left out."""
    first, last = text.find(begin), text.find(end)
    if first >= 0 and last > first:
        text = text[:first] + text[last + len(end) :].removeprefix("\n")
    if not block.strip():
        return text
    if text and not text.endswith("\n"):
        text += "\n"
    return f"{text}{begin}\n{block.strip()}\n{end}\n"


@dataclass(frozen=True)
class Guest:
    """Flathub's place on a machine that is somebody else's."""

    # The account that logs in for Flathub.
    user: str
    home: Path


@dataclass(frozen=True)
class Release:
    """An unpacked release."""

    folder: Path

    def generated(self, name: str) -> Path:
        """Path of a file derived from the inventory."""
        return self.folder / "generated" / name

    @property
    def role(self) -> Path:
        """Folder of what runs."""
        return self.folder / "role"

    @property
    def guest(self) -> Guest | None:
        """Where the machine is somebody else's, and only what is Flathub's own may be touched."""
        text = read_file(self.generated("guest.json"))
        if text is None:
            return None
        document = json.loads(text)
        if not isinstance(document, dict) or set(document) != {"user"} or not isinstance(document["user"], str):
            raise DeliveryError(f'{self.generated("guest.json")}: expected exactly {{"user": "NAME"}}')
        try:
            home = Path(pwd.getpwnam(document["user"]).pw_dir)
        except KeyError:
            raise DeliveryError(f"{self.generated('guest.json')}: there is no user {document['user']}") from None
        return Guest(document["user"], home)

    @property
    def units(self) -> dict[str, Path]:
        """systemd units and drop-ins: path below /etc/systemd/system to source file.

        Those of ``role/guest-units`` are for machines that are somebody else's.
        """
        folders = [self.role / "units", *([self.role / "guest-units"] if self.guest else [])]
        return {
            str(path.relative_to(folder)): path
            for folder in folders
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def verify(self) -> None:
        """Refuse a release that lacks something, before anything is touched."""
        if not RELEASE_NAME.fullmatch(self.folder.name):
            raise DeliveryError(f"{self.folder}: not a release's folder (…/releases/HASH)")
        for name in GENERATED_FILES:
            if not self.generated(name).is_file():
                raise DeliveryError(f"{self.generated(name)} is missing: unpack the release again")
        _ = self.guest
        for name in HOOK_TIMEOUT_SECONDS:
            hook = self.role / name
            if not os.access(hook, os.X_OK) or not hook.is_file():
                raise DeliveryError(f"{hook} is missing or not executable")
        keys = self.generated("authorized_keys").read_text().splitlines()
        if not any(line.strip() and not line.startswith("#") for line in keys):
            raise DeliveryError(f"{self.generated('authorized_keys')} holds no key: it would lock everybody out")


@dataclass
class Machine:
    """The machine that a release is put on, all paths below ``root``.

    With another root than ``/`` nothing that runs is touched: units are enabled in that root only and the firewall is
    checked but not loaded.
    """

    root: Path = Path("/")
    changes: list[str] = field(default_factory=list)

    def path(self, absolute: str) -> Path:
        """Where an absolute path lies on this machine."""
        return self.root / absolute.lstrip("/")

    @property
    def live(self) -> bool:
        """Whether this is the running system."""
        return self.root == Path("/")

    def changed(self, what: str) -> None:
        """Note and print a change."""
        self.changes.append(what)
        say(what)

    # What is activated

    @property
    def state_file(self) -> Path:
        """Record of the last successful activation."""
        return self.path("/var/lib/flathub/activated.json")

    def state(self) -> dict[str, object]:
        """The record; empty if nothing was ever activated or the record is unreadable."""
        try:
            state = json.loads(read_file(self.state_file) or b"{}")
        except json.JSONDecodeError:
            return {}
        return state if isinstance(state, dict) else {}

    def activated(self) -> Release | None:
        """The last release whose activation succeeded, if it is still there."""
        name = self.state().get("release")
        if not isinstance(name, str) or not RELEASE_NAME.fullmatch(name):
            return None
        folder = self.path("/opt/flathub/releases") / name
        return Release(folder) if folder.is_dir() else None

    def record(self, release: Release, secrets: Mapping[str, str]) -> None:
        """Remember a successful activation."""
        state = {"release": release.folder.name, "secrets": digests(secrets), "firewall": self.firewall_digest(release)}
        write_file(self.state_file, (json.dumps(state, indent=1, sort_keys=True) + "\n").encode(), 0o600)

    # Secrets

    @property
    def secrets_folder(self) -> Path:
        """Folder of the secrets in use."""
        return self.path("/etc/flathub/secrets")

    def read_secrets(self) -> dict[str, str]:
        """The secrets in use."""
        if not self.secrets_folder.is_dir():
            return {}
        return {path.name: path.read_text() for path in self.secrets_folder.iterdir() if not path.name.startswith(".")}

    @contextlib.contextmanager
    def staged_secrets(self, secrets: Mapping[str, str]) -> Iterator[Path]:
        """A folder with the new secrets for the checks; gone afterwards."""
        folder = self.path("/etc/flathub/secrets.new")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        try:
            for name, content in secrets.items():
                write_file(folder / name, content.encode(), 0o600)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def install_secrets(self, secrets: Mapping[str, str]) -> None:
        """Make the folder of secrets hold exactly these."""
        folder = self.secrets_folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name, content in sorted(secrets.items()):
            if read_file(folder / name) != content.encode():
                write_file(folder / name, content.encode(), 0o600)
                self.changed(f"secret {name} installed")
            (folder / name).chmod(0o600)
        for path in sorted(folder.iterdir()):
            if path.name not in secrets:
                path.unlink()
                self.changed(f"secret {path.name} removed")

    # The release in service

    @property
    def current(self) -> Path:
        """Link to the release in service."""
        return self.path("/opt/flathub/current")

    def switch(self, release: Release | None) -> None:
        """Point the link at a release by one rename; None removes it."""
        if release is None:
            self.current.unlink(missing_ok=True)
            return
        target = f"releases/{release.folder.name}"
        if self.current.is_symlink() and os.readlink(self.current) == target:
            return
        temporary = self.current.with_name(".current.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.rename(self.current)
        self.changed(f"release {release.folder.name} is current")

    def remove_old_releases(self, keep: set[str]) -> None:
        """Remove all releases but those named, and the tars that they came in."""
        for path in sorted(self.path("/opt/flathub/releases").iterdir()):
            if path.name not in keep and path.is_dir():
                shutil.rmtree(path)
                self.changed(f"release {path.name} removed")
        incoming = self.path("/var/lib/flathub/incoming")
        for path in sorted(incoming.glob("*.tar")) if incoming.is_dir() else ():
            if path.stem not in keep:
                path.unlink()

    # Units

    @property
    def units_record(self) -> Path:
        """Names of the units that deliveries installed; written before the units, so that none is forgotten."""
        return self.path("/var/lib/flathub/units.json")

    def install_units(self, units: Mapping[str, Path]) -> None:
        """Install these units and no other of an earlier delivery; enable those with an [Install] section."""
        folder = self.path("/etc/systemd/system")
        recorded = set(json.loads(read_file(self.units_record) or b"[]"))
        stale = sorted(recorded - set(units))
        write_file(self.units_record, json.dumps(sorted(recorded | set(units))).encode(), 0o600)
        reload = False
        for name in stale:
            if (folder / name).exists():
                if "/" not in name:
                    self.systemctl("disable", *(["--now"] if self.live else []), name, check=False)
                (folder / name).unlink()
                if "/" in name:
                    with contextlib.suppress(OSError):
                        (folder / name).parent.rmdir()
                self.changed(f"unit {name} removed")
                reload = True
        for name, source in units.items():
            content = source.read_bytes()
            if read_file(folder / name) != content:
                write_file(folder / name, content, 0o644)
                self.changed(f"unit {name} installed")
                reload = True
        write_file(self.units_record, json.dumps(sorted(units)).encode(), 0o600)
        if self.live and (reload or self.needs_daemon_reload(units)):
            self.systemctl("daemon-reload")
        for name, source in units.items():
            if "/" not in name and re.search(r"^\[Install\]", source.read_text(), re.MULTILINE):
                self.systemctl("enable", "--quiet", name)

    def needs_daemon_reload(self, units: Mapping[str, Path]) -> bool:
        """Whether systemd runs an older text of one of these units, as after a run killed before its reload."""
        names = [name for name in units if "/" not in name and "@." not in name]
        if not names:
            return False
        shown = self.systemctl("show", "--property=NeedDaemonReload", "--value", *names).split()
        return "yes" in shown

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run systemctl, on the root given if that is not the running system."""
        where = [] if self.live else [f"--root={self.root}"]
        return run(["systemctl", *where, *arguments], check=check)

    # Generated files

    def install_generated(self, release: Release) -> None:
        """Names, keys and firewall of a release."""
        hosts = self.path("/etc/hosts")
        old = (read_file(hosts) or b"").decode()
        new = replace_block(old, HOSTS_BEGIN, HOSTS_END, release.generated("hosts").read_text())
        if new != old:
            write_file(hosts, new.encode(), 0o644)
            self.changed("/etc/hosts changed")
        self.install_keys(release)

        rules = self.path("/etc/flathub/firewall.nft" if release.guest else "/etc/nftables.conf")
        content = release.generated("nftables.conf").read_bytes()
        same = read_file(rules) == content
        if not same:
            write_file(rules, content, 0o644)
        if self.live and not (same and self.state().get("firewall") == self.firewall_digest(release)):
            run(["nft", "--file", str(rules)])
            self.changed("firewall loaded")

    def install_keys(self, release: Release) -> None:
        """The whole of root's authorised keys; on somebody else's machine a block among theirs, kept as it is owned."""
        content = release.generated("authorized_keys").read_bytes()
        home = self.path(str(release.guest.home) if release.guest else "/root")
        keys = home / ".ssh/authorized_keys"
        old = read_file(keys)
        if release.guest:
            content = replace_block((old or b"").decode(), KEYS_BEGIN, KEYS_END, content.decode()).encode()
        if old == content:
            return
        if not keys.parent.is_dir():
            keys.parent.mkdir(parents=True)
            self.give_to_owner_of(home, keys.parent)
        keys.parent.chmod(0o700)
        write_file(keys, content, 0o600)
        self.give_to_owner_of(home, keys)
        self.changed(f"authorised keys of {release.guest.user if release.guest else 'root'} changed")

    @staticmethod
    def give_to_owner_of(home: Path, path: Path) -> None:
        """Make a file or folder in somebody's home theirs."""
        status = home.stat()
        os.chown(path, status.st_uid, status.st_gid)

    def firewall_digest(self, release: Release) -> str | None:
        """Digest of the loaded rules without their counters; loading the same again would reset those."""
        if not self.live:
            return None
        what = ["table", "inet", "flathub"] if release.guest else ["ruleset"]
        rules = run(["nft", "--stateless", "list", *what], check=not release.guest)
        return hashlib.sha256(rules.encode()).hexdigest()


def digests(secrets: Mapping[str, str]) -> dict[str, str]:
    """What to compare secrets by without keeping them."""
    return {name: hashlib.sha256(content.encode()).hexdigest() for name, content in sorted(secrets.items())}


def run(arguments: list[str], check: bool = True) -> str:
    """Run a command and return what it printed; with ``check`` a failure is a DeliveryError with its output."""
    result = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )
    if check and result.returncode != 0:
        output = (result.stderr + result.stdout).strip()
        raise DeliveryError(f"{' '.join(arguments)}: exit status {result.returncode}: {output}")
    return result.stdout


def run_hook(release: Release, name: str, environment: Mapping[str, str]) -> None:
    """Run a hook with its output passed on; its whole process group is ended at the deadline."""
    seconds = HOOK_TIMEOUT_SECONDS[name]
    say(f"role/{name}")
    process = subprocess.Popen(
        [str(release.role / name)],
        cwd=release.folder,
        env={**os.environ, "FLATHUB_RELEASE": str(release.folder), **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        status = process.wait(timeout=seconds)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise DeliveryError(f"role/{name} did not end within {seconds:.0f} seconds and was killed") from None
        raise
    if status != 0:
        raise DeliveryError(f"role/{name} failed with exit status {status}; its output is above")


@contextlib.contextmanager
def exclusive(machine: Machine) -> Iterator[None]:
    """Hold the machine's delivery lock; it ends with the process, so a killed one leaves none behind."""
    path = machine.path("/run/flathub-deliver.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as lock:
        deadline = time.monotonic() + float(os.environ.get("FLATHUB_LOCK_SECONDS", LOCK_TIMEOUT_SECONDS))
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise DeliveryError(
                        f"another delivery is running on this machine (process {lock.read().strip() or 'unknown'}); "
                        "wait for it or end it"
                    ) from None
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def put_into_service(
    machine: Machine, release: Release, secrets: Mapping[str, str], previous: Path | None, known: Mapping[str, str]
) -> None:
    """Switch everything over to a release and activate it.

    ``previous`` and ``known`` (digests) are the release and the secrets that may be running now.
    """
    wanted = digests(secrets)
    changed = sorted(name for name in set(known) | set(wanted) if known.get(name) != wanted.get(name))
    machine.install_secrets(secrets)
    machine.switch(release)
    machine.install_units(release.units)
    machine.install_generated(release)
    run_hook(
        release,
        "activate",
        {
            "FLATHUB_PREVIOUS": str(previous or ""),
            "FLATHUB_SECRETS": str(machine.secrets_folder),
            "FLATHUB_CHANGED_SECRETS": " ".join(changed),
        },
    )
    machine.record(release, secrets)


def deliver(machine: Machine, release: Release, secrets: Mapping[str, str]) -> int:
    """Put a release into service; returns the exit status, DeliveryError if it was refused with nothing changed."""
    release.verify()
    previous = machine.activated()
    previous_folder = previous.folder if previous else None
    say(f"release {release.folder.name}, {'last was ' + previous.folder.name if previous else 'the first here'}")

    with machine.staged_secrets(secrets) as staged:
        environment = {
            "FLATHUB_PREVIOUS": str(previous_folder or ""),
            "FLATHUB_SECRETS": str(staged),
            "FLATHUB_CHANGED_SECRETS": "",
        }
        run_hook(release, "prepare", environment)
        run(["nft", "--check", "--file", str(release.generated("nftables.conf"))])
        run_hook(release, "check", environment)

    old_secrets = machine.read_secrets()
    known = machine.state().get("secrets")
    try:
        put_into_service(machine, release, secrets, previous_folder, known if isinstance(known, dict) else {})
    except (DeliveryError, OSError, subprocess.SubprocessError) as error:
        say(f"ERROR: {error}")
        return roll_back(machine, release, secrets, previous, old_secrets)

    keep = {release.folder.name} | ({previous.folder.name} if previous else set())
    if previous and previous.folder == release.folder:
        keep |= newest_other(machine, release)
    machine.remove_old_releases(keep)
    say(f"in service: {release.folder.name}" + ("" if machine.changes else ", nothing had changed"))
    return 0


def newest_other(machine: Machine, release: Release) -> set[str]:
    """Name of the release to keep beside a repeated one: the most recent other."""
    others = [path for path in machine.path("/opt/flathub/releases").iterdir() if path.name != release.folder.name]
    return {max(others, key=lambda path: path.stat().st_mtime).name} if others else set()


def roll_back(
    machine: Machine,
    failed: Release,
    failed_secrets: Mapping[str, str],
    previous: Release | None,
    secrets: Mapping[str, str],
) -> int:
    """Put the release and the secrets before back into service after a failed activation."""
    if previous is None or (previous.folder == failed.folder and secrets == failed_secrets):
        say("there is nothing else to go back to; correct the fault and deliver again")
        if previous is None:
            machine.switch(None)
        return 2
    say(f"going back to {previous.folder.name}")
    try:
        put_into_service(machine, previous, secrets, failed.folder, digests(failed_secrets))
    except (DeliveryError, OSError, subprocess.SubprocessError) as error:
        say(f"ERROR while going back: {error}")
        return 3
    say(f"{previous.folder.name} is back in service")
    return 2


def main() -> int:
    """Deliver the release that this file lies in."""
    machine = Machine(Path(os.environ.get("FLATHUB_ROOT", "/")))
    os.umask(0o022)
    try:
        if os.geteuid() != 0:
            raise DeliveryError("run this as root")
        secrets = read_secrets(sys.stdin.read())
        with exclusive(machine):
            return deliver(machine, Release(Path(__file__).resolve().parent), secrets)
    except (DeliveryError, OSError, subprocess.SubprocessError) as error:
        say(f"ERROR: {error}; nothing that is in service was changed")
        return 1


if __name__ == "__main__":
    sys.exit(main())
