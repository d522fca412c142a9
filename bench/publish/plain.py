"""The plain sequence: unpack, sign, rsync objects, rsync refs, update."""

import shutil
import time
from pathlib import Path

from figures import Figures
from machine import Machine
from program import Words, run_watched
from repository import ARCHITECTURES, copy


class Plain:
    """A repository that is published to with the plain sequence."""

    def __init__(self, work: Path, machine: Machine, cached: Path) -> None:
        self._work, self._machine = work, machine
        self._repository = work / "plain"
        copy(cached, self._repository)

    def publish(self, version: int, tars: Path) -> Figures:
        stage = self._work / "plain-stage"
        repo, gpg = self._repository, self._machine.gpg_options
        steps: dict[str, list[Words]] = {
            "unpack": [["tar", "-C", stage, "-xf", tars / f"{architecture}.tar"] for architecture in ARCHITECTURES],
            "sign": [["flatpak", "build-sign", *gpg, stage / "repo"]],
            "objects": [["rsync", "-a", "--ignore-existing", f"{stage}/repo/objects/", f"{repo}/objects/"]],
            "refs": [["rsync", "-a", f"{stage}/repo/refs/", f"{repo}/refs/"]],
            "update": [["flatpak", "build-update-repo", "--generate-static-deltas", *gpg, repo]],
        }
        figures, begin = Figures(), time.monotonic()
        stage.mkdir()
        for name, commands in steps.items():
            before = time.monotonic()
            for argv in commands:
                taken = run_watched(argv, lambda: None)
                figures.cpu += taken.cpu_seconds
                figures.largest_process_mib = max(figures.largest_process_mib, taken.largest_process_mib)
            figures.stages[name] = time.monotonic() - before
        figures.installable = figures.listed = time.monotonic() - begin
        shutil.rmtree(stage)
        return figures
