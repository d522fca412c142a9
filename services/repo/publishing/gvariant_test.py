"""GLib's serialised values; the samples are from its specification and from OSTree."""

import random

import pytest

from publishing.gvariant import Malformed, read


def test_texts_of_different_lengths():
    value = read("as", b"i\0can\0has\0strings?\0\x02\x06\x0a\x13")
    assert [value[index].text() for index in range(len(value))] == ["i", "can", "has", "strings?"]


def test_a_dictionary_of_variants():
    value = read("a{sv}", b"key\0\0\0\0\0value\0\0s\x04\x11")
    assert value.dictionary()["key"].text() == "value"


def test_members_that_are_aligned():
    value = read("(yst)", b"\x01hi\0\0\0\0\0\x05\0\0\0\0\0\0\0\x04")
    assert (value[0].number(), value[1].text(), value[2].number()) == (1, "hi", 5)


def test_members_of_one_size():
    value = read("a(yq)", b"\x01\0\x02\0\x03\0\x04\0")
    assert [(value[i][0].number(), value[i][1].number()) for i in range(len(value))] == [(1, 2), (3, 4)]


@pytest.mark.parametrize("text", ["", "a", "(s", "z", "ss", "{sv", "a" * 100 + "y", ")"])
def test_what_is_no_type(text):
    with pytest.raises(Malformed):
        read(text, b"")


def test_no_bytes_do_more_than_be_malformed():
    """Objects are checked against their checksum, but their content is a stranger's."""
    chance = random.Random(7)
    for _ in range(3000):
        data = chance.randbytes(chance.randrange(80))
        try:
            value = read("(a{sv}aya(say)sstayay)", data)
            value[0].dictionary()
            for index in range(len(value[2])):
                value[2][index][0].text()
            value[3].text()
            value[5].number()
        except Malformed:
            continue
