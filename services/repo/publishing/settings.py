"""Where everything of the repository machine lives, as one object."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

UNIT_START = ("sudo", "--non-interactive", "/usr/bin/systemctl", "start")


@dataclass(frozen=True)
class Settings:
    """Paths and commands of the publisher.

    `root` is put before every path, so that a test can run the same code below a temporary directory, where it is
    one user only and starts the other programs directly instead of through systemd.
    """

    root: Path = Path("/")
    # The command that runs the unpacker once, as another user, and returns when it is done.
    unpack_command: tuple[str, ...] = (*UNIT_START, "unpack.service")
    # The command that makes sure the publisher is running, and returns at once.
    publisher_command: tuple[str, ...] = (*UNIT_START, "--no-block", "publisher.service")
    # Whether the publisher signs over the agent's restricted socket. GnuPG before 2.4 can't unlock a key for it.
    restricted: bool = True
    # How long one ostree or flatpak command may take, in seconds.
    command_timeout_seconds: int = 3600
    # The most jobs that are published together; what waits behind them comes with the next batch.
    batch_jobs: int = 32
    # How many static deltas are made at once, and how long one may take, in seconds: one that takes longer is done
    # without. Each holds about 60 MB, and of a big application several times the biggest file that is compared.
    delta_jobs: int = 2
    delta_timeout_seconds: int = 1800
    # When published applications are listed although jobs wait: seconds since the first of them, publishes.
    list_after_seconds: int = 600
    list_after_publishes: int = 50
    # At most this often the lists of applications are compressed anew as a whole, in seconds.
    list_delta_interval_seconds: int = 6 * 3600
    # How often old commits are removed, and how long that may take, in seconds.
    prune_interval_seconds: int = 24 * 3600
    prune_timeout_seconds: int = 1800
    # After this time without a removal that came to its end, one is not stopped by a job any more, in seconds.
    prune_overdue_seconds: int = 7 * 24 * 3600
    # With less than this part of the volume free, old commits are removed this often, and no job stops it.
    low_space_fraction: float = 0.05
    low_space_prune_interval_seconds: int = 3600
    # A commit stays for this long after another took its place, in seconds: a client may be at it.
    commit_grace_seconds: int = 24 * 3600
    # A served directory stays for this long after another took its place, in seconds, but not more than so many.
    served_grace_seconds: int = 3600
    served_directories: int = 16
    # Results of jobs, and what was transferred for jobs that were never requested, are removed at this age, in seconds.
    result_age_seconds: int = 30 * 24 * 3600
    incoming_age_seconds: int = 2 * 24 * 3600
    # A build with a smaller number that was made this much later than the published one, in seconds, is a newer one
    # all the same: the master's numbers began anew. Longer than the slowest build takes.
    renumbered_after_seconds: int = 24 * 3600
    # The largest tar of one architecture, and what may come out of it.
    max_unpacked_bytes: int = 32 * 1024**3
    max_members: int = 2_000_000
    # What must stay free on the volume. ostree's own default of 3 % would be 13 GB of the 450.
    min_free_bytes: int = 500 * 1000**2

    def as_user(self, user: str) -> tuple[str, ...]:
        """The words before a command that make it run as `user`; none below a test's directory."""
        return ("runuser", "-u", user, "--") if self.root == Path("/") else ()

    @property
    def spool(self) -> Path:
        return self.root / "srv/spool"

    @property
    def incoming(self) -> Path:
        """Written by the worker: a directory a job that is still being transferred."""
        return self.spool / "incoming"

    @property
    def queue(self) -> Path:
        """Jobs that are complete and wait for the publisher."""
        return self.spool / "queue"

    @property
    def work(self) -> Path:
        """The publisher's own: jobs that it has taken, with everything made on the way."""
        return self.spool / "work"

    @property
    def unpacked(self) -> Path:
        """The unpacker's own: what came out of the tars of the job at work."""
        return self.spool / "unpacked"

    @property
    def unpack_request(self) -> Path:
        """What the unpacker is to unpack; written by the publisher, who alone may."""
        return self.work / "unpack.json"

    @property
    def unpack_answer(self) -> Path:
        return self.unpacked / "answer.json"

    @property
    def results(self) -> Path:
        return self.spool / "results"

    @property
    def views(self) -> Path:
        """Repositories that show a part of the real one."""
        return self.spool / "views"

    @property
    def builds(self) -> Path:
        """Which build of each application is published: a file an application."""
        return self.spool / "builds"

    @property
    def status(self) -> Path:
        """What is going on, for everybody."""
        return self.root / "srv/status/publisher.json"

    @property
    def served(self) -> Path:
        """Numbered directories with all that changes of what clients read, and the link to the current one."""
        return self.root / "srv/served"

    @property
    def flatpakrepo(self) -> Path:
        """The file that users add the repository with."""
        return self.served / "flathub.flatpakrepo"

    @property
    def repository(self) -> Path:
        return self.root / "srv/repo"

    @property
    def keyring(self) -> Path:
        """The publisher's GNUPGHOME: public keys, and a redirect to the signer's agent."""
        return self.root / "srv/keyring"

    @property
    def signer(self) -> Path:
        """The signer's GNUPGHOME: the private keys, encrypted with their passphrase."""
        return self.root / "srv/signer"

    @property
    def agent_socket(self) -> Path:
        return self.root / "run/flathub-signer/S.gpg-agent"

    @property
    def signing_socket(self) -> Path:
        """The agent's restricted socket: it signs, but neither exports keys nor takes a passphrase."""
        return self.root / "run/flathub-signer/S.gpg-agent.extra" if self.restricted else self.agent_socket

    @property
    def fingerprint(self) -> Path:
        """Names the key that signs, by the fingerprint of its primary key."""
        return self.keyring / "fingerprint"

    @property
    def public_key(self) -> Path:
        return self.keyring / "flathub.asc"


@dataclass(frozen=True)
class Inventory:
    """What the delivery says about this machine (generated/inventory.json)."""

    name: str
    master: str
    public_url: str
    repository_url: str

    KEYS: ClassVar[dict[str, str]] = {
        "name": "name",
        "master": "master",
        "publicUrl": "public_url",
        "repositoryUrl": "repository_url",
    }

    @classmethod
    def load(cls, path: Path) -> "Inventory":
        """Read the file; ValueError names the file and the key that is missing, unknown or not a string."""
        data = json.loads(path.read_text())
        keys = data.keys() if isinstance(data, dict) else {"not an object"}
        unknown, missing = sorted(keys - cls.KEYS.keys()), sorted(cls.KEYS.keys() - keys)
        if unknown or missing:
            raise ValueError(f"{path}: unknown keys {unknown}, missing keys {missing}")
        for key, value in data.items():
            if not isinstance(value, str) or not value:
                raise ValueError(f"{path}: {key}: expected a text that is not empty, got {value!r}")
        return cls(**{attribute: data[key] for key, attribute in cls.KEYS.items()})
