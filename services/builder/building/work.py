"""A build's work folder: made, packed, and gone with all that a killed run left behind.

Everything that reads or writes files of the worker or of the build runs as their owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from . import job as jobs
from .account import BUILD, WORKER, account, as_user, environment
from .disk import GIB
from .job import STAGES, WORKER_HOME, BuildError, Job, unit_name
from .output import say
from .waiting import wait_until

MAX_TAR_BYTES = 8 * GIB

LOCK_SECONDS = 600.0
"""For how long a build waits until one of its name is gone: the master runs a build again as soon as it has lost the
connection, and the run before still stops its units and removes its folder then."""

FOLDERS = ("source", "cache", "tmp")
"""Made for every build: where the stages run, its cache folder, and what it sees as /tmp, so that all are measured and
removed with it."""


@contextlib.contextmanager
def work_folder(job: Job) -> Iterator[Path]:
    """The job's own work folder; gone afterwards, as is what a run that was killed left behind."""
    build = account(BUILD)
    builds = jobs.BUILDS
    builds.mkdir(parents=True, exist_ok=True)
    # Root works below these two; whoever owns them could swap what lies in them.
    for folder in (builds.parent, builds):
        os.chown(folder, os.geteuid(), os.getegid())
        folder.chmod(0o755)
    path = builds / f"{job.name}.lock"
    with contextlib.ExitStack() as stack:
        what = f"the end of an earlier run of build {job.name} on this machine"
        wait_until(job, what, LOCK_SECONDS, lambda: take_lock(path, stack))
        remove_leftovers(job.name)
        for folder in (job.work, *(job.work / name for name in FOLDERS)):
            folder.mkdir(mode=0o700)
            os.chown(folder, build.pw_uid, build.pw_gid)
        try:
            yield job.work
        finally:
            end_leftover(job.name)
            path.unlink(missing_ok=True)


def take_lock(path: Path, stack: contextlib.ExitStack) -> bool:
    """Take the lock, for as long as the stack lasts; False if another has it."""
    with contextlib.ExitStack() as opened:
        lock = opened.enter_context(open(path, "w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it last has removed the file, and the next one would make another.
            if not os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return False
        except (BlockingIOError, FileNotFoundError):
            return False
        stack.push(opened.pop_all())
    return True


def remove_leftovers(own: str) -> None:
    """Remove work folders whose run is gone, with their units."""
    for lock_path in jobs.BUILDS.glob("*.lock"):
        name = lock_path.stem
        if name == own:
            end_leftover(name)
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError), open(lock_path) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_leftover(name)
            lock_path.unlink(missing_ok=True)
    for folder in jobs.BUILDS.iterdir():
        if folder.is_dir() and not (jobs.BUILDS / f"{folder.name}.lock").exists():
            end_leftover(folder.name)


def end_leftover(name: str) -> None:
    """End what still runs of a build, take its mounts away and remove its folder."""
    units = [unit_name(stage, name) for stage in STAGES]
    subprocess.run(["systemctl", "stop", *units], capture_output=True, check=False)
    folder = jobs.BUILDS / name
    unmount_below(folder)
    if remove(folder):
        say(f"WARNING: {folder} can't be removed completely; the next build on this machine tries again")


def remove(folder: Path) -> bool:
    """Remove a stranger's folder; whether something is left.

    rm follows no link, crosses no mount, and folders may be nested more deeply than a program of ours may recurse.
    """
    subprocess.run(["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)], check=False)
    return folder.exists()


def unmount_below(folder: Path) -> None:
    """Take away every mount in a folder, the last one first.

    A unit's mounts end with it; what is here was made before there were units, or by hand.
    """
    for point in reversed(mounts_below(folder, Path("/proc/self/mountinfo").read_text())):
        subprocess.run(["umount", "--lazy", "--no-canonicalize", "--", point], check=False)


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """The mount points in a folder, from the text of a mountinfo."""
    points = []
    for line in mountinfo.splitlines():
        point = line.split(" ")[4]
        for escaped, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
            point = point.replace(escaped, char)
        if point.startswith(f"{folder}/") or point == str(folder):
            points.append(point)
    return points


def limit_files(size: int):
    """No file larger than that, for a child."""

    def apply() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return apply


def find_manifest(job: Job) -> str:
    """The manifest's name: APP.json, .yml or .yaml, a plain file at the top."""
    found = []
    for suffix in ("json", "yml", "yaml"):
        name = f"{job.app}.{suffix}"
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG(os.lstat(job.work / "source" / name).st_mode):
                found.append(name)
    if len(found) != 1:
        raise BuildError(
            f"expected exactly one of {job.app}.json, .yml, .yaml at the top of the repository, "
            f"found {', '.join(found) or 'none'}"
        )
    return found[0]


def write_tar(job: Job) -> None:
    """Pack as the build's user, write as the worker."""
    packer = subprocess.Popen(
        ["tar", "--create", "--file=-", "--owner=0", "--group=0", "--numeric-owner", f"--directory={job.work}", "repo"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment(job.work),
        cwd="/",
        **as_user(BUILD),
    )
    writer = subprocess.run(
        ["dd", f"of={job.output}", "bs=1M", "status=none"],
        stdin=packer.stdout,
        env=environment(WORKER_HOME),
        cwd="/",
        check=False,
        preexec_fn=limit_files(MAX_TAR_BYTES),
        **as_user(WORKER),
    )
    assert packer.stdout is not None
    packer.stdout.close()
    if packer.wait() != 0 or writer.returncode != 0:
        raise BuildError(f"the repository can't be packed into {job.output}; at most {MAX_TAR_BYTES} bytes are allowed")
    say(f"packed into {job.output}")
