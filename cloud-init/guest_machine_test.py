"""Setup, delivery and removal on somebody else's machine: a copy of this one with a network and processes of its own."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).parent
SERVICES = HERE.parent / "services"
OWNERS_KEYS = "ssh-ed25519 AAAA owner\nssh-ed25519 BBBB deployment, let in by the owner\n"
OWNER = "codethink-1 ssh-ed25519 HOSTKEY"
FIREWALL = """table inet flathub { }
delete table inet flathub
table inet flathub {
	chain output {
		type filter hook output priority filter; policy accept;
		meta skuid build ip daddr 10.0.0.0/8 reject
	}
}
"""
SYSTEMCTL = """#!/bin/sh
if [ "$1" = --version ]; then echo "systemd 257 (257.8-1)"; else exec /usr/bin/systemctl "$@"; fi
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")


class Machine:
    """Everything that is written lands in memory; everything that runs ends with the test."""

    def __init__(self, folder):
        script = """mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir upper work root &&
            mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root &&
            mount -t proc proc root/proc && mount -t tmpfs tmpfs root/run && exec sleep infinity"""
        command = [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
            str(folder),
        ]
        self.folder = folder
        self.process = subprocess.Popen(command)
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 20
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, "the machine does not start"
            self.child = children.read_text().split()[0] if children.read_text().split() else None
            if self.child and pathlib.Path(f"/proc/{self.child}/comm").read_text() == "sleep\n":
                break
            time.sleep(0.02)

    def argv(self, *command):
        inside = ["chroot", f"{self.folder}/root", "env", "-u", "PYTEST_CURRENT_TEST", *command]
        return ["nsenter", "--target", self.child, "--mount", "--net", "--pid", *inside]

    def run(self, *command, text=None, check=True):
        result = subprocess.run(self.argv(*command), input=text, check=False, capture_output=True, text=True, cwd="/")
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def program(self, source, parameters, check=True):
        """As the deployment runs one: from standard input."""
        text = (HERE / source).read_text()
        return self.run("python3", "-B", "-", json.dumps(parameters), text=text, check=check)

    def sh(self, script, check=True):
        return self.run("sh", "-c", script, check=check).stdout

    def write(self, path, content, mode="644"):
        encoded = base64.b64encode(content.encode()).decode()
        self.sh(f"mkdir -p {os.path.dirname(path)} && echo {encoded} | base64 -d > {path} && chmod {mode} {path}")

    def state(self):
        """What there is beside this machine's own files, and what of those a guest may touch."""
        script = """cd "$1" && find . -name '*-' -o -name .pwd.lock -o -type c -o -print |
            while read -r path; do [ -e "/$path" ] || echo "$path"; done"""
        outside = ["nsenter", "--target", self.child, "--mount", "sh", "-c", script, "sh", f"{self.folder}/upper"]
        own = subprocess.run(outside, check=True, capture_output=True, text=True).stdout
        texts = self.sh("cat /etc/hosts /root/.ssh/authorized_keys; getent passwd; getent group; nft list ruleset")
        return sorted(own.splitlines()), texts

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    try:
        made.write("/root/.ssh/authorized_keys", OWNERS_KEYS, "600")
        made.sh("nft add table inet owner && nft add chain inet owner theirs")
        # A guest's is newer than this machine's may be.
        made.write("/usr/local/bin/systemctl", SYSTEMCTL, "755")
        # Other tests of this machine's must not look like the owner's.
        made.sh("rm -rf /opt/flathub /etc/flathub /var/lib/flathub /var/lib/worker /var/lib/build")
        yield made
    finally:
        made.stop()


def parameters(owner=OWNER, user="root", **more):
    return {"owner": owner, "guest": {"user": user}, "users": ["worker", "build"], **more}


INVENTORY = {
    "name": "codethink-1",
    "master": {"host": "198.51.100.7", "port": 9990, "tlsName": "workers.flathub.test"},
    "architectures": ["aarch64"],
    "maxBuilds": 1,
    "runtimeRemotes": {"runtimes": "http://runtimes.test/runtimes.flatpakrepo"},
}
SECRETS = {
    "worker-password": "password",
    "worker-certificate.pem": "certificate",
    "worker-key.pem": "key",
    "worker-authority.pem": "authority",
}


def deliver(machine, name="0123456789abcdef", secrets=None, user="root", check=True):
    """A release with a builder's own units and checks; nothing is installed or started."""
    release = f"/opt/flathub/releases/{name}"
    machine.write(f"{release}/deliver.py", (SERVICES / "deliver.py").read_text())
    for folder in ("units", "guest-units"):
        for unit in (SERVICES / "builder" / folder).rglob("*"):
            if unit.is_file():
                path = unit.relative_to(SERVICES / "builder")
                machine.write(f"{release}/role/{path}", unit.read_text())
    machine.write(f"{release}/role/prepare", "#!/bin/sh\n", "755")
    for path, mode in (("check", "755"), ("inventory.py", "644"), ("sudoers", "644")):
        machine.write(f"{release}/role/{path}", (SERVICES / "builder" / path).read_text(), mode)
    machine.write(f"{release}/role/activate", "#!/bin/sh\ntouch /etc/sudoers.d/flathub-build\n", "755")
    machine.write(f"{release}/generated/inventory.json", json.dumps(INVENTORY))
    machine.write(f"{release}/generated/nftables.conf", FIREWALL)
    machine.write(f"{release}/generated/hosts", "")
    machine.write(f"{release}/generated/authorized_keys", "ssh-ed25519 CCCC deployment\nssh-ed25519 DDDD alex\n")
    machine.write(f"{release}/generated/guest.json", json.dumps({"user": user}))
    text = json.dumps({"secrets": SECRETS if secrets is None else secrets})
    return machine.run("sh", "-c", f"cd {release} && exec python3 -B deliver.py", text=text, check=check)


def set_up(machine, **more):
    return machine.program("files/machine/machine_setup.py", parameters(packages=["bash", "coreutils"], **more))


def test_a_guest_comes_stays_among_what_is_the_owners_and_leaves_no_trace(machine):
    before = machine.state()
    assert "packages: all there" in set_up(machine).stdout
    deliver(machine)
    rules = machine.sh("nft list ruleset")
    assert "table inet owner" in rules and "table inet flathub" in rules
    keys = machine.sh("cat /root/.ssh/authorized_keys")
    assert keys.startswith(OWNERS_KEYS) and "CCCC" in keys and "DDDD" in keys
    assert machine.sh("cat /etc/nftables.conf 2>/dev/null; true") != FIREWALL
    assert machine.sh("readlink /etc/systemd/system/multi-user.target.wants/flathub-firewall.service")
    assert "Requires=flathub-firewall.service" in machine.sh(
        "cat /etc/systemd/system/buildbot-worker.service.d/guest.conf"
    )

    # All of it again changes nothing.
    set_up(machine)
    assert "nothing had changed" in deliver(machine).stdout
    # The owner loads new rules, and ours are gone: the next delivery brings them back.
    machine.sh("nft delete table inet flathub")
    assert "firewall loaded" in deliver(machine).stdout

    # What a build has left: a process that does not want to end, and a mount.
    machine.sh("""mkdir -p "/var/lib/build/builds/a b" && mount -t tmpfs tmpfs "/var/lib/build/builds/a b" """)
    build = subprocess.Popen(machine.argv("setpriv", "--reuid=build", "--clear-groups", "sleep", "infinity"))
    machine.program("removal.py", parameters())
    assert build.wait(timeout=10) != 0
    assert machine.state() == before
    machine.program("removal.py", parameters())
    assert machine.state() == before


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_a_worker_without_all_it_needs_to_dial_in_is_refused(machine, missing):
    set_up(machine)
    secrets = {name: content for name, content in SECRETS.items() if name != missing}
    refused = deliver(machine, secrets=secrets, check=False)
    assert refused.returncode == 1 and f"the secret {missing} is missing" in refused.stdout
    assert machine.sh("ls /etc/systemd/system/buildbot-worker.service 2>&1 || true").count("No such file") == 1


def test_the_account_that_logs_in_need_not_be_root(machine):
    machine.sh("useradd --create-home lender")
    set_up(machine, user="lender")
    # It copies the releases, which root unpacks.
    machine.sh("setpriv --reuid=lender --clear-groups touch /var/lib/flathub/incoming/0123456789abcdef.tar")
    deliver(machine, user="lender")
    listed = machine.sh("stat --format='%U %a' /home/lender/.ssh /home/lender/.ssh/authorized_keys").split()
    assert listed == ["lender", "700", "lender", "600"]
    assert "CCCC" in machine.sh("cat /home/lender/.ssh/authorized_keys")
    assert machine.sh("cat /root/.ssh/authorized_keys") == OWNERS_KEYS
    machine.program("removal.py", parameters(user="lender"))
    assert machine.sh("ls -A /home/lender/.ssh") == ""


def test_whoever_the_machine_is_now_keeps_it(machine):
    set_up(machine)
    set_up(machine, owner="codethink-9 ssh-ed25519 HOSTKEY")
    deliver(machine)
    state = machine.state()
    result = machine.program("removal.py", parameters())
    assert "this machine is codethink-9 now: nothing is removed" in result.stdout
    assert machine.state() == state


def test_a_user_of_the_owners_is_left_alone(machine):
    machine.sh("useradd --create-home build && touch /home/build/diploma")
    result = machine.program("files/machine/machine_setup.py", parameters(packages=[]), check=False)
    assert result.returncode == 1
    assert "setup failed: user build: the home is /home/build, expected /var/lib/build" in result.stderr
    machine.program("removal.py", parameters())
    assert machine.sh("ls /home/build; id -un build; id worker || true").split()[:2] == ["diploma", "build"]


def test_a_removal_that_was_killed_is_repeated(machine):
    before = machine.state()
    set_up(machine)
    deliver(machine)
    source = (HERE / "removal.py").read_text()
    for step in ("remove_units", "remove_user", "remove_keys"):
        killed = source.replace(f"def {step}(", f"def {step}(*_):\n    os.kill(os.getpid(), 9)\n\n\ndef unused_{step}(")
        assert killed != source
        result = machine.run("python3", "-B", "-", json.dumps(parameters()), text=killed, check=False)
        assert result.returncode != 0
    machine.program("removal.py", parameters())
    assert machine.state() == before
