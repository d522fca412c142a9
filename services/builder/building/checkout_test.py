"""Checking out: real repositories over HTTP, good and hostile ones."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from building import checkout
from building.checkout import Checkout, CheckoutError
from building.disk import Space

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Smart(http.server.SimpleHTTPRequestHandler):
    """Hands requests to git's own CGI program."""

    server: Server

    def log_message(self, *_arguments):
        pass

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body):
        if self.server.failures:
            self.send_error(self.server.failures.pop())
            return
        path, _, query = self.path.partition("?")
        environment = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": self.directory,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", "") if self.server.any_commit else "",
        }
        answer = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, check=False
        )
        head, _, content = answer.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Server(http.server.ThreadingHTTPServer):
    """Repositories on loopback; ``failures`` are the statuses of the next answers."""

    daemon_threads = True
    any_commit = True

    def __init__(self, folder, handler=Smart):
        super().__init__(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        self.folder = folder
        self.failures = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def git(self, name, *arguments, given=None):
        """Run git in one of the repositories, made if it isn't there."""
        bare = self.folder / f"{name}.git"
        if not bare.exists():
            subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True, env=ENVIRONMENT)
        command = ["git", f"--git-dir={bare}", *arguments]
        result = subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, env=ENVIRONMENT)
        return result.stdout.decode().strip()

    def blob(self, name, content):
        return self.git(name, "hash-object", "-w", "--stdin", given=content.encode())

    def tree(self, name, entries):
        """A tree of (mode, type, id, name)."""
        lines = "".join(f"{mode} {kind} {sha}\t{entry}\n" for mode, kind, sha, entry in entries)
        return self.git(name, "mktree", "--missing", given=lines.encode())

    def commit(self, name, entries, message="x"):
        """A commit of these entries, at the tip of the default branch. Text becomes a file."""
        made = [
            (entry[0], "blob", self.blob(name, entry[1]), entry[2]) if len(entry) == 3 else entry for entry in entries
        ]
        commit = self.git(name, "commit-tree", "-m", message, self.tree(name, made))
        self.git(name, "update-ref", "refs/heads/master", commit)
        return commit


@pytest.fixture
def serve(tmp_path):
    """Starts servers."""
    with contextlib.ExitStack() as stack:

        def start(handler=Smart):
            folder = tmp_path / "served"
            folder.mkdir()
            server = stack.enter_context(Server(folder, handler))
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def server(serve):
    """A server as GitHub is one: it gives a commit by its id."""
    return serve()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Checks out; returns what is there then, name to content, links as `-> target`."""
    source = tmp_path / "work/source"
    source.mkdir(parents=True)
    monkeypatch.chdir(source)
    for name in os.environ:
        if name.lower().endswith("_proxy") or name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(checkout, "PAUSE_SECONDS", 0)

    def check_out(url, commit):
        Checkout(tmp_path / "work/git").run(url, commit)
        assert [path.name for path in source.parent.iterdir()] == ["source"]
        return {
            str(path.relative_to(source)): f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
            for path in source.rglob("*")
            if path.is_symlink() or path.is_file()
        }

    return check_out


def file(name, content="x"):
    """An entry of a commit."""
    return ("100644", content, name)


def link(commit, name):
    """A submodule's entry."""
    return ("160000", "commit", commit, name)


def modules(**urls):
    """The .gitmodules of submodules."""
    return file(
        ".gitmodules", "".join(f'[submodule "{name}"]\npath = {name}\nurl = {url}\n' for name, url in urls.items())
    )


@pytest.mark.parametrize("any_commit", [True, False], ids=["GitHub", "tips only"])
def test_the_commit_is_checked_out_as_plain_files_and_no_other(server, run, any_commit, capfd):
    server.any_commit = any_commit
    entries = [file("file", "old"), ("120000", "/etc/hostname", "link"), ("100755", "#!/bin/sh\n", "run")]
    commit = server.commit("app", entries)
    server.git("app", "update-ref", "refs/heads/old", commit)
    server.commit("app", [file("file", "new")])
    assert run(f"{server.url}/app.git", commit) == {"file": "old", "link": "-> /etc/hostname", "run": "#!/bin/sh\n"}
    assert os.access("run", os.X_OK)
    assert capfd.readouterr() == (f".: {server.url}/app.git {commit}\n", "")


def test_a_server_without_gits_protocol_will_do(serve, run):
    class Dumb(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

    server = serve(Dumb)
    commit = server.commit("app", [file("file", "old")])
    server.git("app", "update-ref", "refs/heads/old", commit)
    server.commit("app", [file("file", "new")])
    server.git("app", "update-server-info")
    assert run(f"{server.url}/app.git", commit) == {"file": "old"}


def test_submodules_in_submodules_come_along(server, run):
    inner = server.commit("inner", [file("innermost")])
    server.commit("inner", [file("newer")])
    outer = server.commit("outer", [modules(deep="../inner.git"), link(inner, "deep"), file("outermost")])
    left_out = '[submodule "skipped"]\npath = skipped\nurl = http://127.0.0.1:1/x\nupdate = none\n'
    known = f'[submodule "one"]\npath = "with space"\nurl = {server.url}/outer.git\n{left_out}'
    entries = [file(".gitmodules", known), link(outer, "with space"), link("1" * 40, "skipped")]
    commit = server.commit("app", entries)
    found = run(f"{server.url}/app.git", commit)
    assert set(found) == {
        ".gitmodules",
        *(f"with space/{name}" for name in (".gitmodules", "deep/innermost", "outermost")),
    }
    assert os.listdir("skipped") == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "/etc",
        "ext::sh -c touch% /tmp/x",
        "git@github.test:flathub/app",
        "http://user:password@github.test/x",
        "http://user@github.test/x",
        "--upload-pack=reboot",
        "../../../..",
        "-x",
    ],
)
def test_another_address_of_a_submodule_is_refused(server, run, url):
    commit = server.commit("app", [modules(sub=url), link("1" * 40, "sub")])
    with pytest.raises(CheckoutError, match=r"submodule '.*': expected an http\(s\) address without a user's name"):
        run(f"{server.url}/app.git", commit)


def test_a_submodule_without_an_address_is_refused(server, run):
    commit = server.commit("app", [modules(other="../x.git"), link("1" * 40, "sub")])
    with pytest.raises(CheckoutError, match="sub: .gitmodules has no address of this submodule"):
        run(f"{server.url}/app.git", commit)


def test_neither_names_nor_links_lead_out(server, run, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    beyond = server.tree("app", [("100644", "blob", server.blob("app", "x"), "out")])
    for number, name in enumerate(("..", ".git", ".GIT", "git~1")):
        commit = server.commit("app", [("040000", "tree", beyond, name)], str(number))
        with contextlib.suppress(CheckoutError):
            run(f"{server.url}/app.git", commit)
        subprocess.run(["rm", "-rf", tmp_path / "work/git"], check=True)
    # A link and a folder of one name, in a tree that git would not have made.
    entries = [("120000", "blob", server.blob("app", str(outside)), "a"), ("040000", "tree", beyond, "a")]
    listing = b"".join(f"{int(mode, 8):o} {name}\0".encode() + bytes.fromhex(sha) for mode, _, sha, name in entries)
    tree = server.git("app", "hash-object", "-t", "tree", "--literally", "-w", "--stdin", given=listing)
    commit = server.git("app", "commit-tree", "-m", "x", tree)
    server.git("app", "update-ref", "refs/heads/master", commit)
    with contextlib.suppress(CheckoutError):
        run(f"{server.url}/app.git", commit)
    assert os.listdir(outside) == []
    assert not list(tmp_path.glob("out")) and not list((tmp_path / "work").glob("out"))
    assert not any(name.lower() == ".git" for name in os.listdir("."))


def test_a_submodule_goes_into_no_linked_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("folder")
    assert checkout.plain_folder("folder/sub") == "folder/sub"
    for folder in ("link/sub", "link", "../x", "folder/../folder"):
        with pytest.raises(CheckoutError, match="is no folder"):
            checkout.plain_folder(folder)


def test_a_tree_of_countless_files_is_counted_before_it_is_written(server, run):
    """Eight trees in one another, ten times each: a hundred million files in some hundred bytes."""
    entries = [("100644", "blob", server.blob("app", "x"), str(name)) for name in range(10)]
    for _ in range(8):
        tree = server.tree("app", entries)
        entries = [("040000", "tree", tree, str(name)) for name in range(10)]
    commit = server.commit("app", entries)
    with pytest.raises(CheckoutError, match="more than 200000 files and folders"):
        run(f"{server.url}/app.git", commit)
    assert os.listdir(".") == []


def test_sizes_are_added_up_over_submodules(server, run, monkeypatch):
    sub = server.commit("sub", [file("one", "x" * 600)])
    commit = server.commit("app", [modules(sub="../sub.git"), link(sub, "sub"), file("two", "x" * 600)])
    monkeypatch.setattr(checkout, "MAX_SOURCE", Space(1000, 100))
    with pytest.raises(CheckoutError, match="the files have more than 1000 bytes"):
        run(f"{server.url}/app.git", commit)
    assert (os.listdir("sub"), Path("two").exists()) == ([], True)


def test_a_file_that_is_too_large_is_refused(server, run, monkeypatch):
    monkeypatch.setattr(checkout, "MAX_SOURCE_FILE_BYTES", 500)
    with pytest.raises(CheckoutError, match="a file has more than 500 bytes"):
        run(f"{server.url}/app.git", server.commit("app", [file("one", "x" * 600)]))


def test_countless_submodules_are_refused(server, run, monkeypatch):
    monkeypatch.setattr(checkout, "MAX_REPOSITORIES", 2)
    sub = server.commit("sub", [file("one")])
    names = ("a", "b", "c")
    entries = [modules(**dict.fromkeys(names, "../sub.git")), *(link(sub, name) for name in names)]
    with pytest.raises(CheckoutError, match="more than 2 submodules"):
        run(f"{server.url}/app.git", server.commit("app", entries))


def test_what_git_would_take_for_a_repository_of_its_own_is_refused(server, run):
    """git reads the configuration of a folder that has HEAD, objects and refs, and it says what to run."""
    folder = server.tree("app", [("100644", "blob", server.blob("app", "x"), "x")])
    entries = [file("HEAD", "ref: refs/heads/x\n"), file("config"), ("040000", "tree", folder, "refs")]
    with pytest.raises(CheckoutError, match="there is a HEAD at the top"):
        run(f"{server.url}/app.git", server.commit("app", entries))


def test_what_the_users_configuration_says_is_not_heard(server, run, tmp_path):
    marker = tmp_path / "ran"
    settings = f'[filter "lfs"]\nsmudge = touch {marker}\nrequired = true\n[core]\nhooksPath = {tmp_path}\n'
    (tmp_path / ".gitconfig").write_text(settings)
    (tmp_path / "post-checkout").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (tmp_path / "post-checkout").chmod(0o755)
    commit = server.commit("app", [file(".gitattributes", "* filter=lfs\n"), file("large", "version x\n")])
    assert run(f"{server.url}/app.git", commit)["large"] == "version x\n"
    assert not marker.exists()


def test_a_server_that_is_away_for_a_while_is_asked_again(server, run, capfd):
    commit = server.commit("app", [file("file")])
    server.failures = [503, 429, 502]
    assert run(f"{server.url}/app.git", commit) == {"file": "x"}
    assert capfd.readouterr().out.count("trying again for 90 seconds") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/app.git", "http://no-such-host.invalid/app.git"])
def test_a_network_that_stays_away_fails_the_checkout(run, monkeypatch, url):
    monkeypatch.setattr(checkout, "AWAY_SECONDS", 0)
    with pytest.raises(CheckoutError, match="the network or the server stayed away"):
        run(url, "1" * 40)


@pytest.mark.parametrize("any_commit", [True, False], ids=["GitHub", "tips only"])
def test_what_is_not_there_is_not_waited_for(server, run, any_commit, capfd):
    server.any_commit = any_commit
    server.commit("app", [file("file")])
    with pytest.raises(CheckoutError, match=f"app.git has no commit {'1' * 40}"):
        run(f"{server.url}/app.git", "1" * 40)
    subprocess.run(["rm", "-rf", "../git"], check=True)
    with pytest.raises(CheckoutError, match=r"other.git can't be fetched:\nfatal: repository .* not found"):
        run(f"{server.url}/other.git", "1" * 40)
    assert "trying again" not in capfd.readouterr().out


def test_an_id_of_something_else_is_no_commit(server, run):
    server.commit("app", [file("file")])
    with pytest.raises(CheckoutError, match="has no commit"):
        run(f"{server.url}/app.git", server.blob("app", "x"))


def test_the_program_says_why_not(server, tmp_path):
    (tmp_path / "source").mkdir()
    program = Path(checkout.__file__).parent.parent / "check-out"
    command = [sys.executable, "-B", str(program), f"{server.url}/none.git", "1" * 40]
    result = subprocess.run(
        command, cwd=tmp_path / "source", env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1 and f"FAILED: {server.url}/none.git can't be fetched" in result.stderr
