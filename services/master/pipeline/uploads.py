"""Where builds wait on the master between their builder and repo."""

from __future__ import annotations

import os
from pathlib import Path

UPLOADS = Path(os.environ.get("FLATHUB_UPLOADS", "/srv/buildbot/uploads"))
SPOOL = os.environ.get("FLATHUB_SPOOL", "/srv/spool/incoming")
"""Folder on repo that takes what is to be published."""

BLOCK_BYTES = 1024 * 1024
MAX_BYTES = 8 * 1024**3
"""Largest repository of one architecture; an upload beyond it fails."""


def build_folder(build_id: str) -> Path:
    """Folder of a build's uploads."""
    if not build_id.isdecimal():
        raise ValueError(f"build id {build_id!r} is not a number")
    return UPLOADS / build_id
