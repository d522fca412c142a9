"""What a delivery to a builder is checked for."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from inventory_test import DOCUMENT

ROLE = Path(__file__).parent


@pytest.fixture
def check(tmp_path):
    """Checks a release that is right but for what is given, on a machine that these stand-ins make up."""
    (tmp_path / "role").symlink_to(ROLE)
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated/inventory.json").write_text(json.dumps(DOCUMENT))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/worker-password").write_text("x")
    programs = tmp_path / "programs"
    programs.mkdir()

    def run(systemd):
        for name, script in {"systemctl": systemd, "visudo": "exit 0", "getent": "exit 0"}.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "FLATHUB_SECRETS": str(tmp_path / "secrets")}
        return subprocess.run(
            [ROLE / "check"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("version", ["systemd 254 (254.1-3)", "systemd 257 (257.8-1~deb13u2)\n+PAM +AUDIT"])
def test_a_new_enough_systemd_will_do(check, version):
    result = check(f"echo '{version}'")
    assert (result.returncode, result.stderr) == (0, "")


def test_an_older_one_is_refused(check):
    result = check("echo 'systemd 252 (252.39-1~deb12u2)'")
    assert result.returncode == 1
    assert result.stderr == "builds need systemd 254 or newer (Debian 13); this machine has 252\n"
