"""OSTree's signatures; that OSTree and flatpak take them is shown by every client of the other tests."""

import subprocess

import pytest

from publishing import signature
from publishing.signature import Unverifiable
from publishing.signing import fingerprint


@pytest.mark.parametrize("size", [0, 1, 100, 119, 220, 221, 222, 240, 250, 256, 310, 566, 65_500, 70_000])
def test_what_is_encoded_is_decoded(size):
    assert signature.decode(signature.encode(b"s" * size)) == b"s" * size


def test_as_ostree_writes_it(machine):
    """The same bytes around GnuPG's own."""
    repo = machine.root / "signed"
    key = fingerprint(machine.settings)
    for words in (
        ["init", "--mode=archive"],
        ["commit", "--branch=x", f"--tree=dir={machine.settings.keyring.parent / 'repo/refs'}", f"--gpg-sign={key}",
         f"--gpg-homedir={machine.settings.keyring}"],
    ):  # fmt: skip
        subprocess.run(["ostree", f"--repo={repo}", *words], check=True, capture_output=True)
    (written,) = (repo / "objects").rglob("*.commitmeta")
    assert signature.encode(signature.decode(written.read_bytes())) == written.read_bytes()


def test_a_signature_is_of_one_file(machine, tmp_path):
    settings, files = machine.settings, [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)
    signature.sign(settings, fingerprint(settings), [(file, file.with_suffix(".sig")) for file in files])
    for file in files:
        signature.verify(settings, file, file.with_suffix(".sig"))
    with pytest.raises(Unverifiable, match="BAD signature"):
        signature.verify(settings, files[0], files[1].with_suffix(".sig"))
    with pytest.raises(Unverifiable):
        signature.verify(settings, files[0], tmp_path / "none")
