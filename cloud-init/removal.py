"""Take Flathub off a machine that is somebody else's, and leave the rest of it as it is.

The deployment hands it to python3 on standard input when a remote builder's line has gone from the configuration, with
one argument, a JSON object: `owner`, whose the machine must still be, `guest` with the `user` who logs in for Flathub,
and `users`, those that the setup made. Builds that run are ended. Can be repeated and killed. Installed packages stay:
nobody knows who else has come to need them.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time

WORKER = "buildbot-worker.service"
UNITS = pathlib.Path("/etc/systemd/system")
OWNER = pathlib.Path("/etc/flathub/owner")
UNITS_RECORD = pathlib.Path("/var/lib/flathub/units.json")
SUDOERS = pathlib.Path("/etc/sudoers.d/flathub-build")
FOLDERS = ("/opt/flathub", "/var/lib/flathub")
KEYS_BEGIN = "# begin: keys of Flathub"
KEYS_END = "# end: keys of Flathub"
STOP_DEADLINE_SECONDS = 60
POLL_SECONDS = 0.2


def run(*command):
    """Run a command that may fail because what it ends is not there."""
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, check=False, capture_output=True, text=True)


def end_work():
    """Stop the worker, then the builds that it has started: with it gone no more begin."""
    run("systemctl", "disable", "--now", WORKER)
    run("systemctl", "stop", "flathub-build-*.service")


def remove_units(record):
    """Remove the units that deliveries have installed; record is the list of their names."""
    for name in record:
        if "/" not in name:
            run("systemctl", "disable", "--now", name)
        path = UNITS / name
        path.unlink(missing_ok=True)
        if "/" in name:
            with contextlib.suppress(OSError):
                path.parent.rmdir()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", *[name for name in record if "/" not in name])


def processes_of(uid):
    """The ids of a user's processes."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == uid:
                found.append(int(folder.name))
    return found


def end_processes(name, uid):
    """Kill what still runs as a user, and wait until it is gone."""
    deadline = time.monotonic() + STOP_DEADLINE_SECONDS
    while left := processes_of(uid):
        if time.monotonic() > deadline:
            sys.exit(f"removal failed: processes {left} of {name} do not end; look at them and repeat")
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def mounts_below(folder, mountinfo):
    """Mount points in a folder, the last one mounted first; mountinfo is the text of /proc/self/mountinfo."""
    points = [
        re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in mountinfo.splitlines()
    ]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def remove_tree(folder):
    """Remove a folder; rm crosses no mount, and folders may be nested more deeply than Python can follow."""
    result = run("rm", "-rf", "--one-file-system", "--", str(folder))
    if result.returncode != 0:
        sys.exit(f"removal failed: {result.stderr.strip()[-1000:]}")


def remove_user(name):
    """Remove a user that the setup made, with the group and everything at home."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return
    if entry.pw_dir != f"/var/lib/{name}":
        print(f"user {name} has the home {entry.pw_dir} and is not Flathub's: left alone", flush=True)
        return
    end_processes(name, entry.pw_uid)
    for mount in mounts_below(entry.pw_dir, pathlib.Path("/proc/self/mountinfo").read_text()):
        run("umount", "--lazy", mount)
    remove_tree(entry.pw_dir)
    result = run("userdel", name)
    if result.returncode != 0:
        sys.exit(f"removal failed: userdel {name}: {result.stderr.strip()}")


def without_block(text, begin, end):
    """A text without what stands from one line to another."""
    first, last = text.find(begin), text.find(end)
    if first < 0 or last < first:
        return text
    return text[:first] + text[last + len(end) :].removeprefix("\n")


def remove_keys(user):
    """Take the operators' and the deployment's keys away; what the owner has let in stays let in."""
    keys = pathlib.Path(pwd.getpwnam(user).pw_dir) / ".ssh/authorized_keys"
    if not keys.exists():
        return
    text = keys.read_text()
    rest = without_block(text, KEYS_BEGIN, KEYS_END)
    if rest == text:
        return
    if not rest:
        keys.unlink()
        return
    new = keys.with_name(f".{keys.name}.new")
    shutil.copy2(keys, new)
    status = keys.stat()
    os.chown(new, status.st_uid, status.st_gid)
    new.write_text(rest)
    new.rename(keys)


def main():
    """Remove everything, the keys last: a run that was killed has to get in again."""
    parameters = json.loads(sys.argv[1])
    owner = OWNER.read_text().strip() if OWNER.exists() else None
    if owner is not None and owner != parameters["owner"]:
        print(f"this machine is {owner.split()[0]} now: nothing is removed", flush=True)
        return
    end_work()
    remove_units(json.loads(UNITS_RECORD.read_text()) if UNITS_RECORD.exists() else [])
    run("nft", "delete", "table", "inet", "flathub")
    SUDOERS.unlink(missing_ok=True)
    for user in parameters["users"]:
        remove_user(user)
    for folder in FOLDERS:
        remove_tree(folder)
    remove_tree(OWNER.parent)
    remove_keys(parameters["guest"]["user"])
    print("nothing of Flathub is left but installed packages", flush=True)


if __name__ == "__main__":
    main()
