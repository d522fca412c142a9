"""A user of the repository: flatpak, and ostree, over HTTP."""

import http.server
import os
import subprocess
import threading
import urllib.parse

import pytest

from publishing import signing

APP = "org.flathub.Hello-App"


@pytest.fixture
def address(machine):
    """The repository over HTTP on loopback, from the places where nginx takes it from."""
    repository = ("objects/", "deltas/", "delta-indexes/")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path):
            name = path.removeprefix("/repo/").partition("?")[0]
            place = machine.settings.repository if name.startswith(repository) else machine.settings.served / "current"
            return str(place / urllib.parse.unquote(name))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/repo/"
    server.shutdown()
    thread.join()
    server.server_close()


class Client:
    """A user's flatpak, in a home of its own."""

    def __init__(self, home):
        home.mkdir()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "LC_ALL": "C.UTF-8",
        }

    def flatpak(self, *words):
        return subprocess.run(
            ["flatpak", *words], env=self._environment, check=False, capture_output=True, text=True, timeout=120
        )

    def install(self):
        # Without its runtime: what is tried is the way of the application.
        options = ("--user", "--noninteractive", "--no-deps", "--no-related", "--arch=x86_64")
        return self.flatpak("install", *options, "flathub", APP)


def client_with_remote(machine, address):
    client = Client(machine.root / "home")
    file = machine.root / "flathub.flatpakrepo"
    file.write_text(signing.flatpakrepo(machine.settings, address, "http://flathub.test"))
    added = client.flatpak("remote-add", "--user", "--if-not-exists", "flathub", str(file))
    assert added.returncode == 0, added.stderr
    return client


def pull_everything(machine, address, name="client"):
    """What is served, pulled and verified by ostree as every ref of it names: refs with commits."""
    client = machine.root / name
    for words in (
        ["init", "--mode=archive"],
        ["remote", "add", "--if-not-exists", "--set=gpg-verify-summary=true",
         f"--gpg-import={machine.settings.public_key}", "flathub", address],
        ["pull", "--mirror", "flathub"],
        ["fsck", "--quiet"],
    ):  # fmt: skip
        done = subprocess.run(["ostree", f"--repo={client}", *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    refs = subprocess.run(["ostree", f"--repo={client}", "refs"], check=True, capture_output=True, text=True)
    revisions = {}
    for ref in refs.stdout.split():
        revisions[ref] = (client / "refs/heads" / ref).read_text().strip()
    return revisions
