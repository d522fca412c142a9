"""Files that a power cut leaves whole: the old content or the new one."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file's content, or a directory's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, text: str, new: Path, mode: int = 0o644) -> None:
    """Replace `path` in one step, by way of `new` on the same volume: a reader never sees half of it."""
    new.write_text(text)
    sync(new)
    new.chmod(mode)
    new.rename(path)
