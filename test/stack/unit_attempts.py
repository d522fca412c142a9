"""What a stage of a build may not do although its user might: tried as that user, without the stage's unit and in it.

Run as root on a builder as `python3 -c SOURCE ARCHITECTURE`; prints {"without": {ATTEMPT: worked}, "within": {…}}.
Every attempt is inert: what it makes it removes.
"""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

ROLE = "/opt/flathub/current/role"
OTHER = Path("/var/lib/build/builds/other-attempt")


def works(attempt) -> bool:
    """Whether it was not refused."""
    try:
        attempt()
    except OSError:
        return False
    return True


def write(path: str) -> None:
    Path(path).write_text("")
    os.unlink(path)


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def attempts() -> dict[str, bool]:
    """What worked."""
    with open("/proc/net/dev") as devices:
        interfaces = [line.split(":")[0].strip() for line in devices.readlines()[2:]]
    return {
        "read another build's folder": works(lambda: (OTHER / "secret").read_text()),
        "change what all builds use": works(lambda: write("/var/lib/build/home/attempt")),
        "write to /run/lock": works(lambda: write("/run/lock/attempt")),
        "talk to the system bus": works(lambda: connect("/run/dbus/system_bus_socket")),
        "ask the resolver": works(lambda: connect("/run/systemd/resolve/io.systemd.Resolve")),
        "use a network interface": interfaces != ["lo"],
    }


def compare(source: str, architecture: str) -> None:
    """Try without the unit and in it."""
    sys.path.insert(0, ROLE)
    from building import job as jobs
    from building import unit, work

    given = {
        "architecture": architecture,
        "app": "org.flathub.test.Attempts",
        "commit": "0" * 40,
        "build-id": "9" * 15,
        "repository": "http://github.test/flathub/org.flathub.test.Attempts",
        "output": "/var/lib/worker/attempts.tar",
    }
    job = jobs.parse_arguments([f"--{name}={value}" for name, value in given.items()], [architecture])
    command = ["python3", "-c", source]
    user = pwd.getpwnam("build")

    def tried(words: list[str]) -> dict[str, bool]:
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)

    with work.work_folder(job):
        (job.work / "source").mkdir(exist_ok=True)
        os.chown(job.work / "source", user.pw_uid, user.pw_gid)
        OTHER.mkdir(mode=0o700)
        try:
            (OTHER / "secret").write_text("inert")
            for path in (OTHER, OTHER / "secret"):
                os.chown(path, user.pw_uid, user.pw_gid)
            without = tried(["runuser", "-u", "build", "--", *command])
            within = tried(unit.arguments(job, "build", command, 1, 60))
        finally:
            with contextlib.suppress(FileNotFoundError):
                (OTHER / "secret").unlink()
            OTHER.rmdir()
    print(json.dumps({"without": without, "within": within}))


if __name__ == "__main__":
    if sys.argv[1:]:
        compare(sys.orig_argv[2], sys.argv[1])
    else:
        print(json.dumps(attempts()))
