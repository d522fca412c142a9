"""The rules for builds on another's machine, with a real nft in a network of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from building import firewall

RULES = "table inet flathub { }\ndelete table inet flathub\ntable inet flathub {\n\tchain build {\n\t}\n}\n"
OWNERS = "flush ruleset\ntable inet theirs { }\n"

SCRIPT = """
import subprocess, sys
from pathlib import Path
from building import firewall
firewall.RULES = Path(sys.argv[1])
firewall.ensure_rules()
print(subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout)
"""


def ensure(rules, *loaded):
    """Load files, then make sure of the rules; the process, which prints the ruleset at its end."""
    load = "".join(f"nft --file '{path}' && " for path in loaded)
    command = [
        "unshare",
        "--net",
        "sh",
        "-c",
        f'{load} exec "$@"',
        "sh",
        sys.executable,
        "-B",
        "-c",
        SCRIPT,
        str(rules),
    ]
    builder = Path(firewall.__file__).parent.parent
    return subprocess.run(command, cwd=builder, capture_output=True, text=True, check=False)


@pytest.fixture
def files(tmp_path):
    """Our rules and the owner's."""
    (tmp_path / "firewall.nft").write_text(RULES)
    (tmp_path / "owners.nft").write_text(OWNERS)
    return tmp_path / "firewall.nft", tmp_path / "owners.nft"


needs_nft = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")


@needs_nft
def test_rules_that_the_owners_have_flushed_are_loaded_again(files):
    ours, owners = files
    result = ensure(ours, ours, owners)
    assert (result.returncode, result.stderr) == (0, "")
    assert "has lost its table inet flathub; loading it again" in result.stdout
    assert "table inet flathub" in result.stdout and "table inet theirs" in result.stdout


@needs_nft
def test_rules_that_stand_are_left_alone(files):
    ours, _ = files
    result = ensure(ours, ours)
    assert result.returncode == 0 and "loading it again" not in result.stdout


@needs_nft
def test_a_machine_of_our_own_has_no_such_rules(tmp_path):
    result = ensure(tmp_path / "none")
    assert (result.returncode, result.stdout.strip()) == (0, "")


@needs_nft
def test_rules_that_can_not_be_loaded_end_the_build(files):
    ours, _ = files
    ours.write_text("nonsense\n")
    result = ensure(ours)
    assert result.returncode != 0
    assert "no build without the firewall's rules" in result.stderr and "syntax error" in result.stderr
