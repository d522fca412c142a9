"""A push as Buildbot's change, whatever the committer wrote."""

import dataclasses

import pytest
from buildbot.db.model import Model

from pipeline.pushes import AUTHOR_CHARACTERS, Push, as_change

PUSH = Push(
    project="flathub/org.example.App",
    branch="main",
    commit="a" * 40,
    author="A. Hacker",
    message="Update",
    url="https://github.com/flathub/org.example.App",
    when=1,
)


@pytest.mark.parametrize("text", ["x" * 100_000, "é" * 100_000, "\0", "a\0b", "\ud800"])
def test_every_text_fits_its_column(text):
    change = as_change(dataclasses.replace(PUSH, author=text, message=text, url=text))
    for name, value in change.items():
        column = Model.changes.c.get(name)
        if column is not None and isinstance(value, str):
            assert len(value) <= (column.type.length or len(value)), name
            assert "\0" not in value
            value.encode()
    user = Model.users_info.c.attr_data
    assert len(change["author"]) <= AUTHOR_CHARACTERS == user.type.length
    assert change["author"] and change["comments"]


def test_other_texts_stay_as_they_are():
    change = as_change(PUSH)
    assert (change["author"], change["comments"]) == ("A. Hacker", "Update")
    assert change["revlink"] == f"{PUSH.url}/commit/{PUSH.commit}"
