"""Deliveries into a temporary root, with real hooks, links and files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deliver

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")


def stage(root: Path, name: str, activate: str = "exit 0", check: str = "exit 0") -> Path:
    """Unpack a small release."""
    folder = root / "opt/flathub/releases" / name
    (folder / "role").mkdir(parents=True)
    (folder / "generated").mkdir()
    shutil.copy(Path(deliver.__file__), folder / "deliver.py")
    (folder / "generated/inventory.json").write_text("{}")
    (folder / "generated/nftables.conf").write_text("flush ruleset\n")
    (folder / "generated/hosts").write_text(f"10.17.0.10 {name}\n")
    (folder / "generated/authorized_keys").write_text("ssh-ed25519 AAAA test\n")
    for hook, body in (("prepare", "exit 0"), ("check", check), ("activate", activate)):
        (folder / "role" / hook).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "role" / hook).chmod(0o755)
    return folder


def run(root: Path, folder: Path, secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Deliver a release."""
    return subprocess.run(
        [sys.executable, "deliver.py"],
        cwd=folder,
        env={**os.environ, "FLATHUB_ROOT": str(root)},
        input=json.dumps({"secrets": secrets}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_deliver_twice_then_refused_then_rolled_back(tmp_path):
    first = stage(tmp_path, "first")
    assert run(tmp_path, first, {"a": "1"}).returncode == 0
    again = run(tmp_path, first, {"a": "1"})
    assert again.returncode == 0 and "nothing had changed" in again.stdout

    refused = run(tmp_path, stage(tmp_path, "second", check="exit 1"), {"a": "2"})
    assert refused.returncode == 1
    assert (tmp_path / "etc/flathub/secrets/a").read_text() == "1"

    failed = run(tmp_path, stage(tmp_path, "third", activate="exit 1"), {"b": "3"})
    assert failed.returncode == 2
    assert os.readlink(tmp_path / "opt/flathub/current") == "releases/first"
    assert {path.name for path in (tmp_path / "etc/flathub/secrets").iterdir()} == {"a"}
    assert "10.17.0.10 first" in (tmp_path / "etc/hosts").read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"secrets": {"../x": "y"}}', '{"secrets": {"x": ""}}'])
def test_bad_input_is_refused(text):
    with pytest.raises(deliver.DeliveryError, match="standard input"):
        deliver.read_secrets(text)
