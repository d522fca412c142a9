"""Buildbot's own check of the configuration that an inventory gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.inventory_test import DOCUMENT

MASTER_CFG = Path(__file__).parent.parent / "master.cfg"
REMOTE = [
    {"name": "codethink-1", "architectures": ["aarch64"], "maxBuilds": 1},
    {"name": "codethink-2", "architectures": ["arm"], "maxBuilds": 2},
]


def check(folder: Path, document: dict[str, object], passwords: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the check."""
    (folder / "inventory.json").write_text(json.dumps(document))
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "worker-passwords.json").write_text(json.dumps(passwords))
    for name in ("change-hook-secret", "github-token"):
        (secrets / name).write_text(f"the {name}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLATHUB_")}
    known = {"FLATHUB_INVENTORY": str(folder / "inventory.json"), "FLATHUB_SECRETS": str(secrets)}
    return subprocess.run(
        [str(Path(sys.executable).parent / "buildbot"), "checkconfig", str(MASTER_CFG)],
        env={**environment, **known, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(name="document")
def with_remote_builders():
    """An inventory of all architectures, two of them by machines elsewhere."""
    return {**DOCUMENT, "workers": [*DOCUMENT["workers"], *REMOTE]}


def passwords_of(document):
    """A password for each worker."""
    return {name: f"password of {name}" for name in (*(each["name"] for each in document["workers"]), "repo")}


def test_a_configuration_with_remote_builders_is_good(tmp_path, document):
    result = check(tmp_path, document, passwords_of(document))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Config file is good!" in result.stdout


def test_a_worker_without_a_password_is_named(tmp_path, document):
    passwords = passwords_of(document)
    del passwords["codethink-2"]
    result = check(tmp_path, document, passwords)
    assert result.returncode != 0
    assert "codethink-2: missing" in result.stdout + result.stderr
