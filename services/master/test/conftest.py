"""One running Flathub for all tests of a module."""

import pytest

from running_master import Flathub, GitHub


@pytest.fixture(scope="module")
def flathub(tmp_path_factory):
    """A master and its workers, with their GitHub."""
    folder = tmp_path_factory.mktemp("flathub")
    with GitHub(folder / "github").serving() as github:
        running = Flathub(folder, github)
        try:
            running.start()
            yield running
        finally:
            running.stop()
