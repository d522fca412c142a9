"""On another's machine: that the rules about what builds may reach stand."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .job import BuildError
from .output import say

RULES = Path("/etc/flathub/firewall.nft")
"""A delivery puts it on machines of other owners only."""

NFT = "/usr/sbin/nft"
TABLE = ("table", "inet", "flathub")


def ensure_rules() -> None:
    """Load our table if it is gone, as it is when the owner's rules were loaded by hand and flush all others.

    The unit that loads it at boot doesn't notice. Raises BuildError if the table can't be had.
    """
    if not RULES.exists() or nft("list", *TABLE).returncode == 0:
        return
    say(f"the firewall has lost its {' '.join(TABLE)}; loading it again")
    loaded = nft("--file", str(RULES))
    if loaded.returncode != 0 or nft("list", *TABLE).returncode != 0:
        raise BuildError(
            f"no build without the firewall's rules, and {RULES} can't be loaded: {loaded.stderr.strip()}", 2
        )


def nft(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run nft."""
    return subprocess.run([NFT, *arguments], capture_output=True, text=True, check=False)
