"""The request to publish one build: job.json, written by the worker and trusted by nobody."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("aarch64", "arm", "i386", "x86_64")
MAX_JOB_BYTES = 64 * 1024

_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_APP = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+(\.[A-Za-z_][A-Za-z0-9_-]*)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_BRANCHES = ("stable",)


class InvalidJob(Exception):
    """A job that can't be published, with the reason; the text goes into its result."""


@dataclass(frozen=True)
class Job:
    """One application at one commit, built for all of `architectures`, published together or not at all."""

    id: str
    app: str
    commit: str
    subject: str
    branch: str
    architectures: tuple[str, ...]
    # Of each architecture's tar, in hexadecimal.
    sha256: dict[str, str]

    @property
    def number(self) -> int:
        """A build with a greater number is a newer one."""
        return int(self.id)


def is_job_id(text: str) -> bool:
    """Whether `text` can name a job: the number of a build."""
    return _ID.fullmatch(text) is not None


def parse(text: str, expected_id: str) -> Job:
    """Check every field of a job.json.

    `expected_id` is the name of the job's directory. Raises InvalidJob, naming the field, the value and what was
    expected; a key that is missing or unknown is an error too.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJob(f"job.json: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InvalidJob("job.json: expected an object")
    keys = set(Job.__dataclass_fields__)
    if data.keys() != keys:
        raise InvalidJob(
            f"job.json: unknown keys {sorted(data.keys() - keys)!r:.200}, missing keys {sorted(keys - data.keys())}"
        )
    for key in sorted(keys - {"architectures", "sha256"}):
        if not isinstance(data[key], str):
            raise InvalidJob(f"job.json: {key}: expected a text, got {data[key]!r:.200}")

    def refuse(key: str, expected: str) -> None:
        raise InvalidJob(f"job.json: {key}: expected {expected}, got {data[key]!r:.200}")

    if data["id"] != expected_id or not is_job_id(data["id"]):
        refuse("id", f"{expected_id!r}, the name of the job's directory")
    if len(data["app"]) > 255 or not _APP.fullmatch(data["app"]):
        refuse("app", "an application ID such as org.example.App")
    if not _COMMIT.fullmatch(data["commit"]):
        refuse("commit", "40 hexadecimal digits")
    if len(data["subject"]) > 500 or not all(c.isprintable() for c in data["subject"]):
        refuse("subject", "one line of at most 500 printable characters")
    if data["branch"] not in _BRANCHES:
        refuse("branch", f"one of {', '.join(_BRANCHES)}")
    architectures = data["architectures"]
    if (
        not isinstance(architectures, list)
        or not architectures
        or not all(a in ARCHITECTURES for a in architectures)
        or len(set(architectures)) != len(architectures)
    ):
        refuse("architectures", f"a list of one or more of {', '.join(ARCHITECTURES)}, none twice")
    sums = data["sha256"]
    if (
        not isinstance(sums, dict)
        or sums.keys() != set(architectures)
        or not all(isinstance(value, str) and _SHA256.fullmatch(value) for value in sums.values())
    ):
        refuse("sha256", f"64 hexadecimal digits for each of {', '.join(sorted(architectures))}")
    return Job(**{**data, "architectures": tuple(sorted(architectures))})


def load(directory: Path, expected_id: str) -> Job:
    """Read the job in `directory`, which must hold job.json, a tar for each architecture and nothing else."""
    path = directory / "job.json"
    if path.is_symlink() or not path.is_file():
        raise InvalidJob("job.json is missing or is not a regular file")
    if path.stat().st_size > MAX_JOB_BYTES:
        raise InvalidJob(f"job.json is larger than {MAX_JOB_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJob(f"job.json: not UTF-8: {error}") from None
    job = parse(text, expected_id)
    expected = {"job.json", *(f"{architecture}.tar" for architecture in job.architectures)}
    found = {entry.name for entry in directory.iterdir()}
    if found != expected:
        raise InvalidJob(
            f"the job's files: missing {sorted(expected - found)}, not expected {sorted(found - expected)!r:.200}"
        )
    for name in sorted(expected):
        if (directory / name).is_symlink() or not (directory / name).is_file():
            raise InvalidJob(f"{name} is not a regular file")
    return job


def check_sums(directory: Path, job: Job) -> None:
    """Compare the tars with the checksums that the job names. Raises InvalidJob."""
    for architecture in job.architectures:
        with (directory / f"{architecture}.tar").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != job.sha256[architecture]:
            raise InvalidJob(
                f"{architecture}.tar: its SHA-256 is {found}, expected {job.sha256[architecture]}: damaged on its way"
            )
