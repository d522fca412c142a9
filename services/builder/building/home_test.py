"""The runtimes that builds share stay below a size, and go only when nobody uses them."""

import contextlib
import os
import threading

import pytest

from building import home, waiting
from building.disk import Space
from building.job import BuildError
from building.job_test import parse
from building.work import remove


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of this user's; the one with a runtime of 300 kB."""
    owner = type("Account", (), {"pw_uid": os.geteuid(), "pw_gid": os.getegid()})
    monkeypatch.setattr(home, "account", lambda _name: owner)
    monkeypatch.setattr(home, "HOME", tmp_path / "home")
    monkeypatch.setattr(home, "START", Space(0, 0))
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.01)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runtime").write_bytes(b"x" * 300_000)
    return tmp_path / "home"


def test_it_stays_while_it_is_small_enough():
    with home.shared_home(parse()) as folder:
        assert (folder / "runtime").exists()


def test_it_is_emptied_when_it_is_too_large(monkeypatch):
    monkeypatch.setattr(home, "MAX_BYTES", 200_000)
    with home.shared_home(parse()) as folder:
        assert list(folder.iterdir()) == []


def test_it_stays_while_another_build_uses_it(monkeypatch):
    with home.shared_home(parse()) as folder, contextlib.ExitStack() as stack:
        monkeypatch.setattr(home, "MAX_BYTES", 200_000)
        stack.enter_context(home.shared_home(parse()))
        assert (folder / "runtime").exists()
    with home.shared_home(parse()) as folder:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("start", [Space(1 << 60, 0), Space(0, 1 << 60)], ids=["bytes", "files"])
def test_a_full_disk_is_emptied_first_and_then_refused(monkeypatch, own_home, start):
    monkeypatch.setattr(home, "free_space", lambda _: Space(1 << 40, 1 << 30))
    monkeypatch.setattr(home, "START", start)
    with pytest.raises(BuildError, match="no room for a build: .* are free") as caught, home.shared_home(parse()):
        pass
    assert caught.value.status == 2
    assert list(own_home.iterdir()) == []


@pytest.fixture
def waiting_build(monkeypatch, own_home):
    """Another build, on a full disk, beside one that uses the home; begun, and waiting for room."""
    free = [Space(1000, 1000)]
    monkeypatch.setattr(home, "free_space", lambda _: free[-1])
    said, begun = [], threading.Event()
    monkeypatch.setattr(waiting, "say", lambda message: (said.append(message), begun.set()))
    found = []

    def build():
        try:
            with home.shared_home(parse()) as folder:
                found.append(os.listdir(folder))
        except BuildError as error:
            found.append(str(error))

    thread = threading.Thread(target=build)

    def start():
        monkeypatch.setattr(home, "START", Space(2000, 2000))
        thread.start()
        assert begun.wait(60)
        assert found == []
        assert said == ["waiting for room on the disk, or the end of the other builds, at most 7200 seconds"]

    def end():
        thread.join(60)
        return found[0]

    return start, end, free


def test_a_build_without_room_waits_until_another_has_made_some(waiting_build):
    start, end, free = waiting_build
    with home.shared_home(parse()):
        start()
        free.append(Space(3000, 3000))
        assert end() == ["runtime"]


def test_a_build_without_room_waits_until_nobody_uses_the_runtimes(waiting_build, monkeypatch):
    start, end, free = waiting_build
    monkeypatch.setattr(home, "remove", lambda folder: (remove(folder), free.append(Space(3000, 3000))))
    with home.shared_home(parse()):
        start()
    assert end() == []


def test_a_build_that_is_alone_and_has_no_room_is_refused_at_last(waiting_build):
    start, end, _ = waiting_build
    with home.shared_home(parse()):
        start()
    assert end().startswith("no room for a build: 1000 bytes in 1000 files are free")
