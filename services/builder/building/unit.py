"""A stage of a build as a transient unit: its view of the machine, its limits, and its end."""

from __future__ import annotations

import math
import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .account import BUILD, environment
from .disk import MAX_FILE_BYTES, MAX_SOURCE_FILE_BYTES, SPARE, Space, free_space, measurements, read_measurement
from .home import HOME
from .job import BUILDS, NETWORKED, WORKER_HOME, BuildError, Job
from .waiting import read_input

TASKS_MAX = 4096
STOP_SECONDS = 20

STOPPED_STATUS = 255
"""systemd-run's when a signal ended the command."""

MAX_OUTPUT_BYTES = 64 * 1024**2
"""What all stages of a build may print together; the master keeps every line."""

WATCH_SECONDS = 5.0
"""Between two looks at the disk; after a slow measurement ten times as long as that took."""


@dataclass
class Allowance:
    """What is left to a build: ``deadline`` is an instant of the monotonic clock, ``output_bytes`` what it may print."""

    deadline: float
    output_bytes: int = MAX_OUTPUT_BYTES

    def seconds(self) -> int:
        """Until the deadline, rounded up; at least 1, for systemd takes 0 for no limit."""
        return max(1, math.ceil(self.deadline - time.monotonic()))


def properties(job: Job, stage: str, max_builds: int, seconds: int) -> list[str]:
    """Limits and view of a stage's unit.

    bubblewrap must still be able to make namespaces and mount /proc, so nothing may be laid over parts of /proc.
    Memory and tasks are limited by control groups; where a machine's kernel has no such controller, as in `local` on
    some hosts, LimitNPROC still bounds the processes.
    """
    return [
        f"MemoryMax={85 // max_builds}%",
        f"TasksMax={TASKS_MAX}",
        f"LimitNPROC={TASKS_MAX * max_builds}",
        f"LimitFSIZE={MAX_SOURCE_FILE_BYTES if stage == 'checkout' else MAX_FILE_BYTES}",
        "LimitCORE=0",
        "CPUWeight=50",
        "IOWeight=50",
        f"TimeoutStartSec={seconds}",
        f"TimeoutStopSec={STOP_SECONDS}",
        "KillMode=control-group",
        "OOMPolicy=kill",
        "OOMScoreAdjust=500",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        # Which that leaves writable, with /run/lock for everybody.
        "ReadOnlyPaths=/run",
        "ProtectHome=yes",
        "ProtectProc=invisible",
        "PrivateIPC=yes",
        "KeyringMode=private",
        "UMask=0022",
        # Of all builds' folders it sees its own; what it writes elsewhere is on memory of its own, and small.
        f"TemporaryFileSystem={BUILDS}:ro,mode=0755,size=1M /dev/shm:mode=1777,size=256M",
        f"BindPaths={job.work} {job.work}/tmp:/tmp {job.work}/tmp:/var/tmp",
        # Only the stage that gets runtimes may change what other builds use too.
        f"{'ReadWritePaths' if stage == 'fetch' else 'ReadOnlyPaths'}={HOME}",
        f"InaccessiblePaths=-/etc/flathub -{WORKER_HOME} -/var/lib/cloud -/root -/srv -/run/credentials -/run/dbus",
        # The resolver answers on a socket, network or not.
        *(
            []
            if stage in NETWORKED
            else ["PrivateNetwork=yes", "InaccessiblePaths=-/run/systemd/resolve -/run/systemd/private"]
        ),
    ]


def arguments(job: Job, stage: str, command: list[str], max_builds: int, seconds: int) -> list[str]:
    """systemd-run's command line; it ends with the command's exit status, or another than 0 if it was ended."""
    variables = {**environment(HOME), "XDG_CACHE_HOME": str(job.work / "cache")}
    return [
        "systemd-run",
        "--wait",
        "--pipe",
        "--collect",
        # Of the types only this one takes a command that a signal ended, or that was stopped, for failed.
        "--service-type=oneshot",
        # A commit's subject may hold a dollar sign.
        "--expand-environment=no",
        f"--unit={job.unit(stage)}",
        f"--uid={BUILD}",
        f"--gid={BUILD}",
        f"--working-directory={job.work / 'source'}",
        *(f"--setenv={name}={value}" for name, value in variables.items()),
        *(f"--property={one}" for one in properties(job, stage, max_builds, seconds)),
        "--",
        *command,
    ]


def run_stage(
    job: Job, stage: str, command: list[str], max_builds: int, allowance: Allowance, max_space: Space
) -> None:
    """Run a command as one of the job's stages and pass its output on. Raises BuildError if it fails or must be ended."""
    seconds = allowance.seconds()
    process = subprocess.Popen(
        arguments(job, stage, command, max_builds, seconds),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        status = follow(job, process, allowance, DiskWatch(job.work, stage, max_space))
    finally:
        # Nobody reads any more: neither the unit nor systemd-run may wait for room in the pipe.
        assert process.stdout is not None
        process.stdout.close()
        if process.poll() is None:
            subprocess.run(["systemctl", "stop", job.unit(stage)], check=False, capture_output=True)
            process.kill()
            process.wait()
    if status == 0:
        return
    if time.monotonic() >= allowance.deadline:
        raise BuildError(f"the build did not end in time: its {stage} was ended after {seconds} seconds")
    if status == STOPPED_STATUS:
        raise BuildError(f"the {stage} was stopped, for its use of memory or from outside; see above")
    raise BuildError(f"the {stage} failed with exit status {status}; see above")


def follow(job: Job, process: subprocess.Popen[bytes], allowance: Allowance, watch: DiskWatch) -> int:
    """Pass output on until the process ends; returns its exit status.

    Raises BuildError when the one who asked for the build is gone, or the build prints or stores too much.
    """
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector, watch as disk:
        os.set_blocking(process.stdout.fileno(), False)
        selector.register(process.stdout, selectors.EVENT_READ, "output")
        exited = os.pidfd_open(process.pid)
        selector.register(exited, selectors.EVENT_READ, "exited")
        if job.end_with_input:
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "input")
        try:
            while True:
                events = {key.data for key, _ in selector.select(timeout=WATCH_SECONDS)}
                if "output" in events and not pass_on(process, allowance):
                    selector.unregister(process.stdout)
                if "exited" in events:
                    while pass_on(process, allowance):
                        pass
                    return process.wait()
                if "input" in events:
                    read_input()
                disk.look()
        finally:
            os.close(exited)


def pass_on(process: subprocess.Popen[bytes], allowance: Allowance) -> bool:
    """Copy what the process has printed; whether there was any and may be more."""
    assert process.stdout is not None
    try:
        chunk = os.read(process.stdout.fileno(), 64 * 1024)
    except BlockingIOError:
        return False
    allowance.output_bytes -= len(chunk)
    if allowance.output_bytes < 0:
        raise BuildError(f"the build printed more than {MAX_OUTPUT_BYTES} bytes")
    try:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise BuildError(f"the worker does not read the build's output any more: {error}", 3) from None
    return bool(chunk)


class DiskWatch:
    """Looks now and then at what a stage's work folder takes and what is left on its filesystem."""

    def __init__(self, folder: Path, stage: str, max_space: Space) -> None:
        self.folder = folder
        self.stage = stage
        self.max_space = max_space
        self.measuring: list[subprocess.Popen[bytes]] = []
        self.started = 0.0
        self.next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.measuring:
            process.kill()
            process.communicate()

    def look(self) -> None:
        """Look if it is time to. Raises BuildError if the build must end."""
        free = free_space(self.folder)
        if not free.holds(SPARE):
            raise BuildError(f"the disk is full at the {self.stage}: room for {free} is left, for {SPARE} must stay")
        now = time.monotonic()
        if not self.measuring:
            if now >= self.next:
                self.started = now
                self.measuring = [
                    subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                    for command in measurements(self.folder)
                ]
            return
        if any(process.poll() is None for process in self.measuring):
            return
        used = Space(*(read_measurement(process.communicate()[0]) for process in self.measuring))
        self.measuring = []
        self.next = now + max(WATCH_SECONDS, 10 * (now - self.started))
        if not self.max_space.holds(used):
            raise BuildError(f"the {self.stage} has come to {used} on disk; at most {self.max_space} are allowed")
