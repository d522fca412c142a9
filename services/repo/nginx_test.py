"""nginx with the configuration of the machine, below a temporary directory."""

import os
import pwd
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).parent / "nginx/nginx.conf"


@pytest.fixture
def site(tmp_path):
    """A function that asks for a path: status, body, headers."""
    os.chmod(tmp_path, 0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = CONFIGURATION.read_text()
    user = pwd.getpwuid(os.geteuid()).pw_name
    for old, new in (
        ("/srv", f"{tmp_path}/srv"), ("listen 80 ", f"listen 127.0.0.1:{port} "), ("www-data", user),
        ("/run/nginx.pid", f"{tmp_path}/pid"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nginx.conf").write_text(text)
    server = subprocess.Popen(["nginx", "-c", tmp_path / "nginx.conf", "-g", "daemon off;"])

    def ask(path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, b"", error.headers

    end = time.monotonic() + 20
    while True:
        try:
            ask("/")
            break
        except OSError:
            assert time.monotonic() < end, "nginx does not answer"
            time.sleep(0.05)
    try:
        yield ask
    finally:
        server.terminate()
        server.wait()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def tree(tmp_path):
    srv = tmp_path / "srv"
    for number in ("1", "2"):
        for name in ("summary", "summary.sig", "summary.idx", "summary.idx.sig", "config", ".refs.json",
                     "refs/heads/app/a/x86_64/stable", f"summaries/{'a' * 64}.gz", f"summaries/{'b' * 64}.idx.sig",
                     f"summaries/{'a' * 64}-{'b' * 64}.delta"):  # fmt: skip
            write(srv / f"served/{number}" / name, number)
    (srv / "served/current").symlink_to("1")
    write(srv / "served/flathub.flatpakrepo", "flatpakrepo")
    for name in ("summary", "config", "refs/heads/app/a/x86_64/stable", ".lock", "state/x", "tmp/x"):
        write(srv / "repo" / name, "worked in")
    for name in (f"objects/aa/{'0' * 62}.filez", f"objects/aa/{'0' * 62}.commitmeta", "deltas/aa/x/superblock",
                 "delta-indexes/aa/x.index"):  # fmt: skip
        write(srv / "repo" / name, "immutable")
    write(srv / "status/publisher.json", "{}")
    write(srv / "signer/key", "secret")
    return srv


SERVED = ("summary", "summary.sig", "summary.idx", "summary.idx.sig", "config", "refs/heads/app/a/x86_64/stable",
          f"summaries/{'a' * 64}.gz", f"summaries/{'b' * 64}.idx.sig", f"summaries/{'a' * 64}-{'b' * 64}.delta")  # fmt: skip


def test_what_changes_comes_from_the_current_directory(tree, site):
    for name in SERVED:
        status, body, headers = site(f"/repo/{name}")
        assert (status, body, headers["Cache-Control"]) == (200, b"1", "no-cache"), name
    (tree / "served/.new").symlink_to("2")
    (tree / "served/.new").rename(tree / "served/current")
    for name in SERVED:
        assert site(f"/repo/{name}")[1] == b"2", name


@pytest.mark.parametrize(
    ("path", "cache"),
    [
        (f"/repo/objects/aa/{'0' * 62}.filez", "public, max-age=31536000, immutable"),
        (f"/repo/objects/aa/{'0' * 62}.commitmeta", "public, max-age=60"),
        ("/repo/deltas/aa/x/superblock", "public, max-age=3600"),
        ("/repo/delta-indexes/aa/x.index", "no-cache"),
    ],
)
def test_what_does_not_change_comes_from_the_repository(tree, site, path, cache):
    status, body, headers = site(path)
    assert (status, body, headers["Cache-Control"]) == (200, b"immutable", cache)


def test_the_rest(tree, site):
    assert site("/repo/flathub.flatpakrepo")[:2] == (200, b"flatpakrepo")
    status, body, headers = site("/status/publisher.json")
    assert (status, body, headers.get_content_type(), headers["Cache-Control"]) == (
        200, b"{}", "application/json", "no-cache",
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/", "/repo/", "/repo/.lock", "/repo/state/x", "/repo/tmp/x", "/repo/.refs.json", "/repo/summaries/", "/repo/refs/",
     "/repo/summaries/../.refs.json", "/repo/refs/heads/../../.refs.json", "/repo/refs/heads/app/../../../.refs.json",
     "/repo/refs/heads/a%2f..%2f..%2f..%2f.refs.json", "/served/1/summary", "/signer/key", "/repo/../signer/key",
     "/status/../signer/key", "/status/", "/spool/x", "/repo/objects/aa/nothing.filez", "/repo/summary.old"],
)  # fmt: skip
def test_nothing_else_is_served(tree, site, path):
    assert site(path)[0] in (403, 404)


def test_nothing_can_be_written(tree, site):
    for path in ("/repo/summary", "/repo/deltas/aa/x/superblock", "/status/publisher.json"):
        for method in ("PUT", "POST", "DELETE"):
            assert site(path, method)[0] in (403, 405)
