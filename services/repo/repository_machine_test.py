"""A repository machine below a temporary directory: the real gpg-agent, ostree and flatpak, as one user."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import publisher
from publishing import objects, signing, storage
from publishing.repository import initialise
from publishing.settings import Settings

PASSPHRASE = "correct horse 'battery' $(staple)"
ROLE = Path(__file__).parent
os.environ.pop("GNUPGHOME", None)
MISSING = [name for name in ("ostree", "flatpak", "gpg", "gpg-agent", "appstreamcli") if not shutil.which(name)]


def restricted_presets() -> bool:
    """Whether this GnuPG can unlock a key for the restricted socket: 2.4 can, 2.2 can't."""
    version = subprocess.run(["gpg-agent", "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in version.split()[2].split(".")[:2]) >= (2, 4)


def gpg(home: Path, *words: str, data: bytes = b"") -> str:
    argv = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", PASSPHRASE, *words]
    return subprocess.run(argv, check=True, capture_output=True, input=data).stdout.decode()


@pytest.fixture(scope="session")
def signing_key():
    """An armored signing subkey; its primary key stays behind, as that of the real Flathub does."""
    assert not MISSING, f"these tests need {', '.join(MISSING)} from Debian's packages"
    # Sockets have short names: pytest's own temporary directories are too deep.
    home = Path(tempfile.mkdtemp(prefix="fk", dir="/tmp"))
    try:
        gpg(home, "--quick-gen-key", "Flathub test <test@flathub.test>", "ed25519", "cert", "never")
        listing = gpg(home, "--with-colons", "--list-keys")
        primary = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
        gpg(home, "--quick-add-key", primary, "ed25519", "sign", "never")
        yield gpg(home, "--armor", "--export-secret-subkeys", primary)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Machine:
    """A repository machine, and builds for it."""

    settings: Settings
    root: Path
    agent: subprocess.Popen[bytes] | None = None
    built: dict[tuple[str, str, str], Path] = field(default_factory=dict)

    @property
    def extra_socket(self) -> Path:
        return self.settings.agent_socket.with_name("S.gpg-agent.extra")

    def start_agent(self) -> None:
        self.agent = subprocess.Popen(
            ["gpg-agent", "--homedir", self.settings.signer]
            + ["--extra-socket", self.extra_socket, "--daemon", "--", "sleep", "infinity"],
            stdout=subprocess.DEVNULL,
        )
        self.connect()

    def connect(self) -> None:
        """Poll until the agent answers on the signer's socket."""
        end = time.monotonic() + 20
        while True:
            done = subprocess.run(
                ["gpg-connect-agent", "--no-autostart", "--homedir", self.settings.signer, "/bye"],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0 and b"no running" not in done.stderr and self.extra_socket.exists():
                return
            if time.monotonic() > end:
                raise TimeoutError(f"gpg-agent does not answer: {done.stderr!r}")
            time.sleep(0.05)

    def stop_agent(self) -> None:
        """What a reboot does to the passphrase."""
        subprocess.run(
            ["gpg-connect-agent", "--no-autostart", "--homedir", self.settings.signer, "KILLAGENT", "/bye"],
            capture_output=True,
            check=False,
        )
        if self.agent:
            self.agent.terminate()
            self.agent.wait()
        for socket in (self.settings.agent_socket, self.extra_socket):
            socket.unlink(missing_ok=True)

    def build(self, app: str, architecture: str, text: str = "Hello") -> Path:
        """A builder's repository of a tiny application, exported as flatpak-builder does."""
        directory = Path(tempfile.mkdtemp(dir=self.root, prefix="build-"))
        files = directory / "app/files"
        (files / "bin").mkdir(parents=True)
        (files / "bin/hello").write_text(f"#!/bin/sh\necho '{text}'\n")
        (files / "bin/hello").chmod(0o755)
        (files / "share/app-info/xmls").mkdir(parents=True)
        # What software centres show of it, with the text, so that a new version changes the list.
        (files / f"share/app-info/xmls/{app}.xml.gz").write_bytes(
            gzip.compress(
                (
                    '<?xml version="1.0" encoding="UTF-8"?><components version="0.8">'
                    f'<component type="desktop-application"><id>{app}</id><name>{text}</name></component></components>'
                ).encode(),
                mtime=0,
            )
        )
        (directory / "app/metadata").write_text(
            f"[Application]\nname={app}\nruntime=org.test.Platform/{architecture}/1\n"
            f"sdk=org.test.Sdk/{architecture}/1\ncommand=hello\n"
        )
        (directory / "app/export").mkdir()
        repo = directory / "repo"
        subprocess.run(
            [
                "flatpak",
                "build-export",
                "--disable-sandbox",
                f"--arch={architecture}",
                repo,
                directory / "app",
                "stable",
            ],
            check=True,
            capture_output=True,
        )
        return repo

    def offer(self, job: str, app: str, repositories: dict[str, Path], **changes) -> Path:
        """Put a job where the worker puts it."""
        directory = self.settings.incoming / job
        directory.mkdir()
        sums = {}
        for architecture, repo in repositories.items():
            if repo.is_dir():
                with tarfile.open(directory / f"{architecture}.tar", "w") as tar:
                    tar.add(repo, "repo")
            else:
                shutil.copy(repo, directory / f"{architecture}.tar")
            sums[architecture] = hashlib.sha256((directory / f"{architecture}.tar").read_bytes()).hexdigest()
        description = {
            "id": job,
            "app": app,
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "subject": 'Update to 1.0; `rm -rf /` "$(true)"',
            "branch": "stable",
            "architectures": sorted(repositories),
            "sha256": sums,
        }
        (directory / "job.json").write_text(json.dumps(description | changes))
        return directory

    def queue(self, job: str, app: str, repositories: dict[str, Path], **changes) -> None:
        self.offer(job, app, repositories, **changes).rename(self.settings.queue / job)

    def publish(self, **changes) -> int:
        """Run the publisher until it ends, with some settings changed."""
        return publisher.main(replace(self.settings, **changes))

    def start_publisher(self, before: str = "", **changes) -> subprocess.Popen[str]:
        """Start the publisher in a process group of its own, after some lines of Python: it may be killed there."""
        settings = replace(self.settings, **changes)
        code = (
            "import sys, os, signal\nfrom pathlib import *\n"
            f"sys.path.insert(0, {str(ROLE)!r})\n"
            "import publisher\nfrom publishing.settings import Settings\n"
            f"{before}\nsys.exit(publisher.main({settings!r}))\n"
        )
        return subprocess.Popen(
            [sys.executable, "-B", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip

    def publish_in_process(self, before: str = "", **changes) -> subprocess.CompletedProcess[str]:
        """As `start_publisher`, and wait for its end."""
        process = self.start_publisher(before, **changes)
        output, errors = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def served_refs(self) -> dict[str, str]:
        """What clients are told."""
        return json.loads((self.settings.served / "current/.refs.json").read_text())

    def head(self, ref: str) -> str:
        return (self.settings.repository / "refs/heads" / ref).read_text().strip()

    def parent(self, commit: str) -> str | None:
        return objects.commit(self.settings.repository, commit).parent

    def leftovers(self) -> list[str]:
        """What no run leaves behind, if it comes to its end."""
        settings = self.settings
        kept = {"lock", "idle.json"}
        return sorted(
            str(path)
            for path in (
                *(entry for entry in settings.work.iterdir() if entry.name not in kept),
                *settings.unpacked.iterdir(),
                *settings.queue.iterdir(),
                *settings.served.glob("*.new"),
                *settings.served.glob(".*"),
            )
        )

    def fsck(self) -> None:
        argv = ["ostree", f"--repo={self.settings.repository}", "fsck"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def result(self, job: str) -> dict:
        return json.loads((self.settings.results / f"{job}.json").read_text())

    def status(self) -> dict:
        return json.loads(self.settings.status.read_text())

    def refs(self) -> set[str]:
        argv = ["ostree", f"--repo={self.settings.repository}", "refs"]
        return set(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split())


@pytest.fixture
def machine(signing_key):
    """A machine as it is after its first delivery, its key unlocked."""
    root = Path(tempfile.mkdtemp(prefix="fr", dir="/tmp"))
    entry = [sys.executable, "-B", "-c"]
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, {role!r})\n"
        "from publishing.settings import Settings\n"
        "{body}\n"
    )
    limits = {"max_unpacked_bytes": 10**8, "max_members": 5000, "min_free_bytes": 8 * 1000**2}
    unpack = code.format(
        role=str(ROLE),
        body=f"from publishing.unpack import unpack_requested\n"
        f"unpack_requested(Settings(root=Path({str(root)!r}), **{limits!r}))",
    )
    settings = Settings(
        root=root,
        unpack_command=(*entry, unpack),
        publisher_command=("true",),
        restricted=restricted_presets(),
        command_timeout_seconds=120,
        **limits,
    )
    for directory in storage.directories(settings):
        directory.path.mkdir(parents=True, exist_ok=True)
    settings.agent_socket.parent.mkdir(parents=True)
    initialise(settings)
    signing.write_home(settings.signer, settings.agent_socket)
    signing.write_home(settings.keyring, settings.signing_socket)
    signing.write_agent_configuration(settings)
    made = Machine(settings, root)
    made.start_agent()
    try:
        key = root / "signing-key.asc"
        key.write_text(signing_key)
        signing.import_key(settings, key)
        signing.unlock(settings, PASSPHRASE)
        yield made
    finally:
        made.stop_agent()
        shutil.rmtree(root, ignore_errors=True)


def tar_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """A tar with exactly these members."""
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path
