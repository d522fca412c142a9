"""Which architectures a flathub.json leaves."""

import pytest

from pipeline.flathub_json import MAX_BYTES, FlathubJsonError, choose_architectures

OFFERED = ("x86_64", "i386", "aarch64")


@pytest.mark.parametrize(
    ("content", "chosen"),
    [
        (None, OFFERED),
        (b"{}", OFFERED),
        (b'{"publish-delay-hours": 24, "automerge-flathubbot-prs": true}', OFFERED),
        (b'{"only-arches": ["aarch64", "x86_64", "arm"]}', ("x86_64", "aarch64")),
        (b'{"skip-arches": ["i386", "arm"]}', ("x86_64", "aarch64")),
        (b'{"skip-arches": []}', OFFERED),
    ],
)
def test_what_is_built(content, chosen):
    assert choose_architectures(content, OFFERED) == chosen


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "flathub.json: not JSON"),
        (b"\xff", "flathub.json: not JSON"),
        (b"[" * 60_000, "flathub.json: not JSON"),
        (b"[]", "flathub.json: expected an object"),
        (b'{"only-arches": ["arm"]}', "only-arches: leaves none of x86_64, i386, aarch64"),
        (b'{"only-arches": []}', "only-arches: leaves none"),
        (b'{"skip-arches": ["x86_64", "i386", "aarch64"]}', "skip-arches: leaves none"),
        (b'{"only-arches": "x86_64"}', "only-arches: expected a list"),
        (b'{"skip-arches": ["x86-64"]}', 'skip-arches: "x86-64": expected one of x86_64'),
        (b'{"skip-arches": [["arm"]]}', "skip-arches: .*expected one of"),
        (b'{"only-arches": ["arm"], "skip-arches": []}', "expected one of them, not both"),
        (b" " * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_can_not_be_followed_is_named(content, message):
    with pytest.raises(FlathubJsonError, match=message):
        choose_architectures(content, OFFERED)
