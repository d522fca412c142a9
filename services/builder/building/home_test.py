"""The runtimes that builds share stay below a size, and go only when nobody uses them."""

import contextlib
import os

import pytest

from building import home
from building.job import BuildError


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of this user's; the one with a runtime of 300 kB."""
    owner = type("Account", (), {"pw_uid": os.geteuid(), "pw_gid": os.getegid()})
    monkeypatch.setattr(home, "account", lambda _name: owner)
    monkeypatch.setattr(home, "HOME", tmp_path / "home")
    monkeypatch.setattr(home, "START_BYTES", 0)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runtime").write_bytes(b"x" * 300_000)
    return tmp_path / "home"


def test_it_stays_while_it_is_small_enough():
    with home.shared_home() as folder:
        assert (folder / "runtime").exists()


def test_it_is_emptied_when_it_is_too_large(monkeypatch):
    monkeypatch.setattr(home, "MAX_BYTES", 200_000)
    with home.shared_home() as folder:
        assert list(folder.iterdir()) == []


def test_it_stays_while_another_build_uses_it(monkeypatch):
    with home.shared_home() as folder, contextlib.ExitStack() as stack:
        monkeypatch.setattr(home, "MAX_BYTES", 200_000)
        stack.enter_context(home.shared_home())
        assert (folder / "runtime").exists()
    with home.shared_home() as folder:
        assert list(folder.iterdir()) == []


def test_a_full_disk_is_emptied_first_and_then_refused(monkeypatch, own_home):
    monkeypatch.setattr(home, "START_BYTES", 1 << 60)
    with pytest.raises(BuildError, match="no room for a build: .* are free") as caught, home.shared_home():
        pass
    assert caught.value.status == 2
    assert list(own_home.iterdir()) == []
