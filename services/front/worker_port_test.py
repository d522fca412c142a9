"""The port that remote builders dial in to: a real nginx, real certificates, and Buildbot's real worker."""

import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from authority import Authority, Issued
from nginx_workers import end_old_workers, taken_off, workers_of
from running_nginx import Nginx, free_port
from site_configuration import Places, parse_inventory, write

SERVER_NAME = "workers.flathub.test"
WORKER = Path(__file__).parent.parent / "builder/buildbot.tac"


class Master(socketserver.StreamRequestHandler):
    """Gives back what it gets."""

    def handle(self):
        while data := self.rfile.readline():
            self.wfile.write(data)


class Port:
    """front's nginx with a list of workers, before something that answers."""

    def __init__(self, root: Path, authority: Authority, master_port: int, listed: dict[str, Issued]) -> None:
        self.root, self.authority, self.number, self.listed = root, authority, free_port(), listed
        authority.write_secrets(root / "secrets", SERVER_NAME)
        self.places = Places(
            directory=str(root / "rendered"),
            cache=str(root / "cache"),
            pid=str(root / "front.pid"),
            user="root" if os.getuid() == 0 else "nobody",
            listen=f"127.0.0.1:{free_port()}",
            worker_listen=f"127.0.0.1:{self.number}",
            secrets=str(root / "secrets"),
            status=str(root / "status"),
            master_worker_port=master_port,
            error_log=str(root / "error.log"),
            access_log=str(root / "access.log"),
        )
        self.write()
        self.nginx = Nginx(root / "rendered/nginx.conf", self.number)

    def write(self) -> None:
        inventory = {
            "domain": "flathub.test",
            "publicUrl": "http://flathub.test",
            "repositoryUrl": "http://dl.flathub.test/repo/",
            "master": "127.0.0.1",
            "repo": "127.0.0.1",
            "workerProxy": {"name": SERVER_NAME, "expires": "2028-05-14T12:00:00Z"},
            "workers": [
                {"name": name, "fingerprint": issued.fingerprint, "expires": "2028-05-14T12:00:00Z"}
                for name, issued in self.listed.items()
            ],
        }
        write(parse_inventory(json.dumps(inventory)), self.places, 10**8, self.root / "rendered")

    def connect(self, shown: Issued | None, versions=ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLSocket:
        """A connection as a worker makes it, showing a certificate or none."""
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        context.maximum_version = versions
        if shown is not None:
            context.load_cert_chain(*shown.files(self.root / "shown", shown.fingerprint))
        raw = socket.create_connection(("127.0.0.1", self.number), timeout=20)
        try:
            return context.wrap_socket(raw, server_hostname=SERVER_NAME)
        except BaseException:
            raw.close()
            raise

    def gives(self, shown: Issued | None, versions=ssl.TLSVersion.MAXIMUM_SUPPORTED) -> bytes:
        """What comes back for a line; nothing if the connection is closed, at whatever stage."""
        try:
            with self.connect(shown, versions) as connection:
                connection.sendall(b"hello\n")
                return connection.recv(100)
        except (ssl.SSLError, ConnectionError):
            return b""


@pytest.fixture
def master():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Master) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def port(master):
    root = Path(tempfile.mkdtemp(prefix="front-", dir="/tmp"))
    authority = Authority()
    made = Port(root, authority, master, {"codethink-1": authority.issue("codethink-1")})
    try:
        made.nginx.start()
        yield made
    finally:
        made.nginx.stop()
        shutil.rmtree(root)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_listed_certificate_passes(port, version):
    assert port.gives(port.listed["codethink-1"], version) == b"hello\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nothing_else_does(port, version):
    stranger, ours = Authority(), port.authority
    expired = ours.issue("codethink-1", left=timedelta(days=-1))
    as_server = ours.issue("codethink-3", server=True)
    # Listed or not, what is expired, or a server's, or another authority's, is none.
    port.listed |= {"codethink-2": expired, "codethink-3": as_server, "codethink-4": stranger.issue("codethink-4")}
    port.nginx.stop()
    port.write()
    port.nginx.start()
    for what, shown in {
        "none": None,
        "signed, but not listed": ours.issue("codethink-1"),
        "expired": expired,
        "a server's": as_server,
        "another authority's": port.listed["codethink-4"],
    }.items():
        assert port.gives(shown, version) == b"", what
    assert port.gives(port.listed["codethink-1"], version) == b"hello\n"


def test_without_tls_there_is_nothing(port):
    with socket.create_connection(("127.0.0.1", port.number), timeout=20) as connection:
        connection.sendall(b"hello\n")
        assert connection.recv(100) == b""


def test_a_reload_leaves_connections_alone_and_who_is_taken_off_the_list_loses_it(port):
    worker, main = port.listed["codethink-1"], port.nginx.process.pid
    reload = ["nginx", "-c", str(port.nginx.configuration), "-s", "reload"]
    with port.connect(worker) as connection:
        connection.sendall(b"first\n")
        assert connection.recv(100) == b"first\n"
        port.listed["codethink-2"] = port.authority.issue("codethink-2")
        port.write()
        subprocess.run(reload, check=True)
        end = time.monotonic() + 20
        while not port.gives(port.listed["codethink-2"]):
            assert time.monotonic() < end
            time.sleep(0.1)
        connection.sendall(b"second\n")
        assert connection.recv(100) == b"second\n"

        del port.listed["codethink-1"]
        port.write()
        # Of two generations, of which the older holds the connection.
        before = workers_of(main)
        subprocess.run(reload, check=True)
        end_old_workers(main, before)
        try:
            rest = connection.recv(100)
        except (ssl.SSLError, ConnectionError):
            rest = b""
        assert rest == b""
    assert port.gives(worker) == b""
    assert port.gives(port.listed["codethink-2"]) == b"hello\n"


def test_who_was_taken_off(tmp_path):
    def release(name, *fingerprints):
        (tmp_path / name / "generated").mkdir(parents=True)
        inventory = {"workers": [{"fingerprint": fingerprint} for fingerprint in fingerprints]}
        (tmp_path / name / "generated/inventory.json").write_text(json.dumps(inventory))
        return tmp_path / name

    one, two = release("one", "a", "b"), release("two", "b", "c")
    assert taken_off(one, two) == {"a"} and taken_off(two, one) == {"c"} and taken_off(one, one) == set()
    assert taken_off(None, one) == set()


class Login(socketserver.StreamRequestHandler):
    """Begins as a Buildbot master does; remembers what the worker sends."""

    received = b""

    def handle(self):
        # Twisted's Banana: a list of two, the dialects that this end speaks. The worker picks one.
        self.request.sendall(b"\x02\x80\x02\x82pb\x04\x82none")
        while data := self.request.recv(4096):
            type(self).received += data


@pytest.mark.parametrize("tls_name", [SERVER_NAME, "other.flathub.test"])
def test_buildbots_worker_dials_in_and_checks_the_name(tmp_path, tls_name):
    root = Path(tempfile.mkdtemp(prefix="front-", dir="/tmp"))
    authority = Authority()
    worker = authority.issue("codethink-1")
    Login.received = b""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Login) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = Port(root, authority, server.server_address[1], {"codethink-1": worker})
        master = {"host": "127.0.0.1", "port": port.number, "tlsName": tls_name}
        (tmp_path / "inventory.json").write_text(json.dumps({"name": "codethink-1", "master": master}))
        (tmp_path / "worker-password").write_text("password")
        (tmp_path / "worker-certificate.pem").write_bytes(worker.certificate)
        (tmp_path / "worker-key.pem").write_bytes(worker.key)
        (tmp_path / "worker-authority.pem").write_bytes(authority.certificate)
        log = tmp_path / "worker.log"
        process = None
        try:
            port.nginx.start()
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", f"--python={WORKER}"],
                    cwd=tmp_path,
                    env={
                        **os.environ,
                        "FLATHUB_INVENTORY": str(tmp_path / "inventory.json"),
                        "CREDENTIALS_DIRECTORY": str(tmp_path),
                        "PYTHONDONTWRITEBYTECODE": "1",
                    },
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            right = tls_name == SERVER_NAME
            done = (lambda: b"pb" in Login.received) if right else (lambda: "is lost: " in log.read_text())
            end = time.monotonic() + 30
            while not done():
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            assert right or (Login.received == b"" and "VerificationError" in log.read_text())
        finally:
            if process is not None:
                process.terminate()
                process.wait()
            port.nginx.stop()
            server.shutdown()
            thread.join()
            shutil.rmtree(root)
