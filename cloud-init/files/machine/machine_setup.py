#!/usr/bin/env python3
"""Users, their homes and packages of a machine: what has to be there before anything can be delivered to it.

A first boot runs it, and on a machine that Pulumi did not make the deployment does, over SSH. It can be repeated and
killed. It waits for what a machine may get late (a route to the outside, DNS, the package mirror), and fails with one
message when a deadline passes. Its one argument is a JSON object: `users` and `packages`, and on another's machine
`owner`, a note of whose the machine is from now on, and `guest` with `user`, who logs in for Flathub there.
"""

import json
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse

OWNER = pathlib.Path("/etc/flathub/owner")
INCOMING = pathlib.Path("/var/lib/flathub/incoming")
NETWORK_DEADLINE_SECONDS = 900
INSTALL_ATTEMPTS = 4
POLL_SECONDS = 1.0
# Only has to lie outside every private network; nothing is sent to it.
OUTSIDE = "1.1.1.1"


class SetupError(Exception):
    """What failed, where, and what to look at."""


def run(*command, **options):
    """Run a command, shown in the log; raises SetupError with its name if it fails."""
    print("+", " ".join(command), flush=True)
    result = subprocess.run(command, check=False, **options)
    if result.returncode != 0:
        raise SetupError(f"`{' '.join(command)}` exited with {result.returncode}")


def wait_until(what, advice, probe, deadline, clock=time.monotonic, sleep=time.sleep):
    """Poll until probe() returns None; what it returns otherwise is why not yet, and ends up in the error.

    deadline is in seconds of the clock.
    """
    shown = None
    while (reason := probe()) is not None:
        if reason != shown:
            print(f"waiting for {what}: {reason}", flush=True)
            shown = reason
        if clock() > deadline:
            raise SetupError(f"no {what} in time: {reason}; {advice}")
        sleep(POLL_SECONDS)
    print(f"{what}: there", flush=True)


def no_route():
    """Why there is no route to the outside, or None."""
    result = subprocess.run(["ip", "-4", "route", "get", OUTSIDE], check=False, capture_output=True, text=True)
    return None if result.returncode == 0 else result.stderr.strip() or "no default route"


def mirror_hosts(index_targets, proxy):
    """The hosts that apt connects to: the proxy's, if there is one, otherwise those of its sources.

    index_targets is the output of `apt-get indextargets --format '$(SITE)'`, proxy apt's Acquire::http::Proxy.
    """
    sites = [proxy] if proxy else index_targets.split()
    hosts = {urllib.parse.urlsplit(site).hostname for site in sites}
    return sorted(host for host in hosts if host)


def apt_hosts():
    """The hosts that this machine's apt connects to."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)"], check=True, capture_output=True, text=True
    ).stdout
    proxy = subprocess.run(
        ["apt-config", "shell", "proxy", "Acquire::http::Proxy"], check=True, capture_output=True, text=True
    ).stdout
    value = proxy.strip().removeprefix("proxy=").strip("'")
    return mirror_hosts(targets, value)


def unresolved(hosts):
    """Which host has no address, or None."""
    for host in hosts:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            return f"{host}: {error}"
    return None


def mirror_fails():
    """Why the package lists can't be fetched, or None once they are."""
    result = subprocess.run(
        ["apt-get", "update", "--error-on=any", "-q", "-o", "DPkg::Lock::Timeout=60"],
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode == 0:
        return None
    lines = [line for line in result.stderr.splitlines() if line.startswith("E:")]
    return (lines or ["apt-get update failed"])[0]


def wait_for_network():
    """Route, DNS, package mirror: one after the other, so that a failure names the first that is missing."""
    deadline = time.monotonic() + NETWORK_DEADLINE_SECONDS
    wait_until("route to the outside", "is front up, and this machine on the private network?", no_route, deadline)
    hosts = apt_hosts()
    wait_until("DNS", "look at /etc/resolv.conf", lambda: unresolved(hosts), deadline)
    wait_until("package mirror", "does front forward, and is the mirror up?", mirror_fails, deadline)


def install(packages):
    """Install Debian packages, again if the mirror fails in between."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    options = ["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]
    for attempt in range(1, INSTALL_ATTEMPTS + 1):
        try:
            run(*command, *options, *packages, env=environment)
            return
        except SetupError as error:
            if attempt == INSTALL_ATTEMPTS:
                raise SetupError(f"packages: {error}, {attempt} times") from error
            run("apt-get", "update", "-q", env=environment)


def missing(packages):
    """Those of the packages that are not installed."""
    result = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n", *packages],
        check=False,
        capture_output=True,
        text=True,
    )
    installed = {line.split()[0] for line in result.stdout.splitlines() if line.split()[1:2] == ["ii"]}
    return [package for package in packages if package not in installed]


def make_user(name):
    """A system user with a group and a home of its own; one that somebody else has made is left alone."""
    home = pathlib.Path("/var/lib") / name
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        run("useradd", "--system", "--user-group", "--home-dir", str(home), "--shell", "/usr/sbin/nologin", name)
        entry = pwd.getpwnam(name)
    if pathlib.Path(entry.pw_dir) != home:
        raise SetupError(f"user {name}: the home is {entry.pw_dir}, expected {home}; this machine has another {name}")
    home.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.chown(home, entry.pw_uid, entry.pw_gid)


def take_possession(owner, user):
    """Note whose the machine is, and let the user who logs in for Flathub copy releases to it."""
    OWNER.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = OWNER.with_name(f".{OWNER.name}.new")
    new.write_text(f"{owner}\n")
    new.rename(OWNER)
    INCOMING.parent.chmod(0o755)
    shutil.chown(INCOMING, user)


def setup(parameters):
    """The whole of it, in order; every step can be repeated."""
    if shutil.which("apt-get") is None:
        raise SetupError("there is no apt-get; expected Debian or one of its children")
    INCOMING.mkdir(mode=0o700, parents=True, exist_ok=True)
    if "owner" in parameters:
        take_possession(parameters["owner"], parameters["guest"]["user"])
    for user in parameters["users"]:
        make_user(user)
    if not missing(parameters["packages"]):
        print("packages: all there", flush=True)
        return
    wait_for_network()
    install(parameters["packages"])


def main():
    """Run and turn every expected failure into one line."""
    try:
        setup(json.loads(sys.argv[1]))
    except SetupError as error:
        sys.exit(f"setup failed: {error}")
    print("setup: done", flush=True)


if __name__ == "__main__":
    main()
