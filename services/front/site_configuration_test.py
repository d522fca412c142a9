"""front's nginx before a real nginx of the repository machine, on loopback."""

import http.client
import http.server
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from pathlib import Path

import pytest

from authority import Authority
from running_nginx import Nginx, free_port
from site_configuration import Places, parse_inventory, render, write

GOOD = {
    "domain": "flathub.test",
    "publicUrl": "http://flathub.test",
    "repositoryUrl": "http://dl.flathub.test/repo/",
    "master": "127.0.0.1",
    "repo": "127.0.0.1",
    "workerProxy": {"name": "workers.flathub.test", "expires": "2028-05-14T12:00:00Z"},
    "workers": [{"name": "codethink-1", "fingerprint": "0a" * 20, "expires": "2028-05-14T12:00:00+02:00"}],
}
REPOSITORY_NGINX = Path(__file__).parent.parent / "repo/nginx/nginx.conf"
OBJECT = f"/repo/objects/ab/{'0' * 62}.filez"
META = f"/repo/objects/ab/{'0' * 62}.commitmeta"
DELTA = f"/repo/deltas/RJ/tk3bx6L338Xdwv9iV06hHAbXcxJc+he9xUs1kuqog-{'a' * 43}/superblock"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("domain", "flathub.test;}", "a domain name"),
        ("domain", "", "a domain name"),
        ("publicUrl", "ftp://flathub.test", "http:// or https://"),
        ("publicUrl", "http://flathub.test/$host", "http:// or https://"),
        ("publicUrl", "http://flathub.test\n", "http:// or https://"),
        ("master", "master", "an IPv4 address"),
        ("repo", 5, "an IPv4 address"),
        ("repositoryUrl", "http://dl.flathub.test", "http:// or https://, a host and /repo/"),
        ("repositoryUrl", 'http://dl.flathub.test/"x/repo/', "http:// or https://, a host and /repo/"),
        ("workers", {}, "a list"),
    ],
)
def test_a_bad_value_is_named(key, value, expected):
    with pytest.raises(ValueError, match=f"{key}: expected {expected}"):
        parse_inventory(json.dumps({**GOOD, key: value}))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "Codethink"}, "name"),
        ({"name": 'x"; }'}, "name"),
        ({"fingerprint": "0A" * 20}, "fingerprint"),
        ({"fingerprint": "0a" * 19}, "fingerprint"),
        ({"fingerprint": None}, "fingerprint"),
        ({"expires": "soon"}, "expires"),
        ({"expires": "2028-05-14T12:00:00"}, "expires"),
        ({"expires": 5}, "expires"),
    ],
)
def test_a_bad_certificate_is_named(changed, field):
    worker = {**GOOD["workers"][0], **changed}
    with pytest.raises(ValueError, match=rf"workers\[0\].{field}: expected"):
        parse_inventory(json.dumps({**GOOD, "workers": [worker]}))


def test_a_certificate_is_listed_once_and_whole():
    [worker] = GOOD["workers"]
    with pytest.raises(ValueError, match=r"workers\[1\].fingerprint: .* no other worker has"):
        parse_inventory(json.dumps({**GOOD, "workers": [worker, {**worker, "name": "codethink-2"}]}))
    with pytest.raises(ValueError, match=r"workers\[0\]: expected an object with the keys"):
        parse_inventory(json.dumps({**GOOD, "workers": [{**worker, "more": 1}]}))
    with pytest.raises(ValueError, match="workerProxy: expected an object with the keys"):
        parse_inventory(json.dumps({**GOOD, "workerProxy": None}))


def test_unknown_and_missing_keys_are_errors():
    with pytest.raises(ValueError, match="expected an object with the keys"):
        parse_inventory(json.dumps({**GOOD, "more": 1}))
    with pytest.raises(ValueError, match="expected an object with the keys"):
        parse_inventory(json.dumps({key: GOOD[key] for key in ("domain", "master")}))


def test_the_cache_is_never_of_size_zero():
    # To nginx, max_size=0 means without limit.
    assert "max_size=1m " in render(parse_inventory(json.dumps(GOOD)), Places(), 5)["nginx.conf"]


class Master(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "upgrade": self.headers.get("Upgrade"),
                "connection": self.headers.get("Connection"),
                "forwarded": self.headers.get("X-Forwarded-For"),
                "bytes": len(self.rfile.read(int(self.headers.get("Content-Length", 0)))),
            }
        ).encode()
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(self.rfile.readline())
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


class Site:
    """front, the repository machine's nginx and a master."""

    def __init__(self, root: Path) -> None:
        self.root, self.tree = root, root / "srv/repo"
        user = "root" if os.getuid() == 0 else "nobody"
        self.tree.mkdir(parents=True)
        repo_port, front_port = free_port(), free_port()
        self.master = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Master)
        self.master.daemon_threads = True
        self.thread = threading.Thread(target=self.master.serve_forever)
        self.thread.start()
        # The delivered file itself, elsewhere: its paths and its port are all that is changed.
        configuration = REPOSITORY_NGINX.read_text()
        for old, new in (
            ("user www-data;", f"user {user};"),
            ("/run/nginx.pid", f"{root}/repo.pid"),
            ("listen 80 ", f"listen 127.0.0.1:{repo_port} "),
            ("root /srv;", f"root {root}/srv;"),
        ):
            assert old in configuration
            configuration = configuration.replace(old, new)
        (root / "repo.conf").write_text(configuration.replace("alias /srv/", f"alias {root}/srv/"))
        Authority().write_secrets(root / "secrets", "workers.flathub.test")
        places = Places(
            secrets=str(root / "secrets"),
            status=str(root / "status"),
            worker_listen=f"127.0.0.1:{free_port()}",
            directory=str(root / "rendered"),
            cache=str(root / "cache"),
            pid=str(root / "front.pid"),
            user=user,
            listen=f"127.0.0.1:{front_port}",
            master_port=self.master.server_address[1],
            repo_port=repo_port,
            error_log=str(root / "error.log"),
            access_log=str(root / "access.log"),
        )
        write(parse_inventory(json.dumps(GOOD)), places, 10**8, root / "rendered")
        self.repo = Nginx(root / "repo.conf", repo_port)
        self.front = Nginx(root / "rendered/nginx.conf", front_port)

    def ask(self, path, method="GET", body=None, headers=None, host="flathub.test"):
        connection = http.client.HTTPConnection("127.0.0.1", self.front.port, timeout=20)
        connection.request(method, path, body=body, headers={"Host": host, **(headers or {})})
        answer = connection.getresponse()
        answer.text = answer.read().decode(errors="replace")
        connection.close()
        return answer

    def put(self, path, text):
        """Have the repository machine serve a text; what a publish changes lies in the directory that it switches to."""
        served = path.removeprefix("/repo/")
        if served == "flathub.flatpakrepo":
            place = f"served/{served}"
        elif served.startswith(("summar", "refs/", "config")):
            place = f"served/current/{served}"
        else:
            place = path.lstrip("/")
        file = self.root / "srv" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_text(text)
        new.rename(file)
        return file


@pytest.fixture(scope="module")
def site():
    root = Path(tempfile.mkdtemp(prefix="front-", dir="/tmp"))
    made = Site(root)
    try:
        made.repo.start()
        made.front.start()
        yield made
    finally:
        made.front.stop()
        made.repo.stop()
        made.master.shutdown()
        made.thread.join()
        made.master.server_close()
        shutil.rmtree(root)


@pytest.mark.parametrize("host", ["flathub.test", "198.18.0.100", "anything.else"])
def test_the_website_is_served_by_name_and_by_address(site, host):
    answer = site.ask("/", host=host)
    assert answer.status == 200
    assert "flatpak remote-add --if-not-exists flathub http://dl.flathub.test/repo/flathub.flatpakrepo" in answer.text
    assert "@{" not in answer.text
    assert answer.getheader("Server") == "nginx"
    assert "default-src 'none'" in answer.getheader("Content-Security-Policy")
    assert site.ask("/style.css", host=host).getheader("Content-Type") == "text/css"


def test_a_page_that_is_not_there(site):
    answer = site.ask("/nothing")
    assert answer.status == 404
    assert "There is nothing here" in answer.text


@pytest.mark.parametrize("path", [OBJECT, DELTA])
@pytest.mark.parametrize("host", ["flathub.test", "dl.flathub.test"])
def test_objects_and_deltas_are_served_from_the_cache(site, path, host):
    path = path.replace("/ab/", f"/{'cd' if host.startswith('dl') else 'ef'}/").replace("/RJ/", f"/{host[:2]}/")
    file = site.put(path, "content")
    assert (site.ask(path, host=host).status, site.ask(path, host=host).getheader("X-Cache")) == (200, "HIT")
    file.unlink()
    answer = site.ask(f"{path}?other=1", host=host)
    assert (answer.status, answer.text, answer.getheader("X-Cache")) == (200, "content", "HIT")


def test_an_object_may_be_kept_for_good_and_a_signature_may_not(site):
    site.put(OBJECT, "object")
    site.put(META, "signature")
    assert "immutable" in site.ask(OBJECT).getheader("Cache-Control")
    assert site.ask(META).getheader("Cache-Control") == "public, max-age=60"


@pytest.mark.parametrize(
    "path",
    [
        "/repo/summary",
        "/repo/summary.sig",
        "/repo/summary.idx",
        "/repo/summaries/0a.gz",
        "/repo/refs/heads/app/a/x86_64/stable",
        "/repo/config",
        "/repo/flathub.flatpakrepo",
        "/repo/delta-indexes/RJ/x.index",
    ],
)
def test_what_changes_in_place_is_never_cached(site, path):
    for text in ("old", "new"):
        site.put(path, text)
        answer = site.ask(path)
        assert (answer.status, answer.text) == (200, text)
        assert answer.getheader("X-Cache") is None
        assert answer.getheader("Cache-Control") == "no-cache"


def test_the_repository_gives_no_list_and_nothing_of_the_publishers(site):
    site.put("/repo/tmp/secret", "x")
    site.put("/repo/state/secret", "x")
    site.put("/other/secret", "x")
    for path in ("/repo/", "/repo/objects/", "/repo/tmp/secret", "/repo/state/secret", "/repo/../other/secret"):
        assert site.ask(path).status in (403, 404), path


def test_no_error_is_cached_and_an_object_outlives_its_origin(site):
    kept, missing = OBJECT.replace("/ab/", "/11/"), OBJECT.replace("/ab/", "/22/")
    site.put(kept, "kept")
    assert site.ask(kept).status == 200
    site.repo.stop()
    try:
        assert site.ask(kept).text == "kept"
        assert site.ask(missing).status == 502
        assert site.ask("/repo/summary").status == 502
    finally:
        site.repo.start()
    site.put(missing, "there now")
    # nginx counts the upstream as down for up to ten seconds after it failed; then it must ask again.
    end = time.monotonic() + 30
    while (answer := site.ask(missing)).status != 200:
        assert time.monotonic() < end, answer.status
        time.sleep(0.2)
    assert answer.text == "there now"


def test_how_publishing_is_can_be_read_and_is_never_cached(site):
    for text in ('{"state": "ok"}', '{"state": "failing"}'):
        site.put("/status/signing.json", text)
        answer = site.ask("/status/signing.json")
        assert (answer.status, answer.text) == (200, text)
        assert answer.getheader("X-Cache") is None
        assert "no-store" in answer.getheader("Cache-Control")
    assert site.ask("/status/nothing.json").status == 404
    assert site.ask("/status/").status in (403, 404)
    assert site.ask("/status/signing.json", host="dl.flathub.test").status == 301


def test_fronts_own_status_is_not_the_repositorys(site):
    site.put("/status/worker-certificates.json", "the repository's")
    assert site.ask("/status/worker-certificates.json").status == 404
    (site.root / "status").mkdir()
    (site.root / "status/worker-certificates.json").write_text("front's")
    answer = site.ask("/status/worker-certificates.json")
    assert (answer.status, answer.text) == (200, "front's")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("POST", "/status/publisher.json"),
        ("PUT", "/status/worker-certificates.json"),
        ("POST", "/repo/summary"),
        ("PUT", OBJECT),
        ("DELETE", OBJECT),
        ("POST", "/builds/"),
        ("POST", "/builds/api/v2/forceschedulers/force"),
        ("POST", "/builds/change_hook/base"),
        ("POST", "/builds/change_hook/github/"),
        ("POST", "/builds/x/..%2fchange_hook/base"),
        ("GET", "/builds/change_hook/github"),
        ("GET", "/builds//change_hook/poller"),
        ("PURGE", OBJECT),
    ],
)
def test_writing_is_refused(site, method, path):
    assert site.ask(path, method).status == 405


def test_nothing_but_the_repository_on_the_download_name(site):
    site.put("/repo/summary", "summary")
    assert site.ask("/repo/summary", host="dl.flathub.test").text == "summary"
    answer = site.ask("/builds/", host="dl.flathub.test")
    assert (answer.status, answer.getheader("Location")) == (301, "http://flathub.test/")
    assert site.ask("/builds/change_hook/github", "POST", b"{}", host="dl.flathub.test").status == 301


def test_builds_are_passed_to_the_master(site):
    asked = json.loads(site.ask("/builds/api/v2/builders?limit=1").text)
    assert (asked["method"], asked["path"]) == ("GET", "/api/v2/builders?limit=1")
    assert json.loads(site.ask("/builds/", headers={"X-Forwarded-For": "1.2.3.4"}).text)["forwarded"] == "127.0.0.1"
    assert site.ask("/builds").getheader("Location") == "http://flathub.test/builds/"


def test_a_push_is_passed_to_the_master_up_to_a_size(site):
    asked = json.loads(site.ask("/builds/change_hook/github", "POST", b"x" * 4_000_000).text)
    assert (asked["method"], asked["path"], asked["bytes"]) == ("POST", "/change_hook/github", 4_000_000)
    try:
        status = site.ask("/builds/change_hook/github", "POST", b"x" * 6_000_000).status
    except (BrokenPipeError, ConnectionResetError):
        # nginx answers and closes without reading the rest.
        status = 413
    assert status == 413


def test_a_websocket_is_passed_through(site):
    with socket.create_connection(("127.0.0.1", site.front.port), timeout=20) as client:
        client.sendall(
            b"GET /builds/ws HTTP/1.1\r\nHost: flathub.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        stream = client.makefile("rwb")
        assert b"101" in stream.readline()
        while stream.readline().strip():
            pass
        stream.write(b"hello\n")
        stream.flush()
        assert stream.readline() == b"hello\n"


def test_writing_the_same_again_leaves_the_files_alone(tmp_path):
    target, inventory = tmp_path / "rendered", parse_inventory(json.dumps(GOOD))
    write(inventory, Places(), 10**9, target)
    first = target.stat().st_ino
    write(inventory, Places(), 10**9, target)
    assert target.stat().st_ino == first
    write(inventory, Places(), 10**10, target)
    assert "max_size=9536m" in (target / "nginx.conf").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["rendered"]
