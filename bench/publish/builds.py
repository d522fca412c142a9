"""What builders send."""

import shutil
import tarfile
from pathlib import Path

from program import run
from repository import ARCHITECTURES, BRANCH, write_app

# Which application of the repository gets new versions.
NUMBER = 3


class Builds:
    """What builders send of a version: a tar of a repository for each architecture."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def make(self, version: int) -> Path:
        made = self._directory / str(version)
        made.mkdir(parents=True)
        for architecture in ARCHITECTURES:
            tree, repo = made / f"{architecture}.tree", made / f"{architecture}.repo"
            write_app(tree, NUMBER, architecture, version)
            run([
                "flatpak", "build-export", "--disable-sandbox", "--no-update-summary", f"--arch={architecture}",
                repo, tree, BRANCH,
            ])  # fmt: skip
            with tarfile.open(made / f"{architecture}.tar", "w") as tar:
                tar.add(repo, "repo")
            shutil.rmtree(tree)
            shutil.rmtree(repo)
        return made
