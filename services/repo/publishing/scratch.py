"""Empty OSTree repositories for what is on its way: several a job, so they are made without a process each."""

from pathlib import Path

_DIRECTORIES = ("objects", "refs/heads", "refs/remotes", "state", "tmp")


def make(path: Path, options: dict[str, str] | None = None) -> Path:
    """Make an empty repository in archive mode at `path`, which must not exist; `options` go into its [core]."""
    for name in _DIRECTORIES:
        (path / name).mkdir(parents=True)
    lines = [
        "[core]",
        "repo_version=1",
        "mode=archive-z2",
        *(f"{key}={value}" for key, value in (options or {}).items()),
    ]
    (path / "config").write_text("\n".join(lines) + "\n")
    return path
