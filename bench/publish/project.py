"""The project's publisher, from its start with a job in its spool."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from builds import NUMBER
from figures import Figures
from machine import Machine
from program import Taken, run_watched
from repository import ARCHITECTURES, BRANCH, app_id, copy, ref

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# The publisher itself, told to say after each step what it took.
PUBLISHER = """
import sys
from pathlib import PosixPath
sys.path.insert(0, {role!r})
import publisher
from publishing import step
from publishing.settings import Settings
step.report = lambda name, seconds: print("stage", seconds, name, file=log, flush=True)
with open({log!r}, "w") as log:
    sys.exit(publisher.main({settings!r}))
"""


class Project:
    """A repository machine that is published to with the project's publisher."""

    def __init__(self, work: Path, machine: Machine, cached: Path) -> None:
        self._machine, self._log = machine, work / "stages"
        settings = machine.settings
        shutil.rmtree(settings.repository)
        copy(cached, settings.repository)
        machine.initialise()
        # It takes over a repository that was published by other means.
        self._run(lambda: None)

    def _run(self, while_running: Callable[[], None]) -> Taken:
        code = PUBLISHER.format(role=str(self._machine.role), log=str(self._log), settings=self._machine.settings)
        return run_watched([sys.executable, "-B", "-c", code], while_running)

    def publish(self, version: int, tars: Path) -> Figures:
        settings, job = self._machine.settings, str(version)
        files = settings.queue / job
        shutil.copytree(tars, files)
        description = {
            "id": job, "app": app_id(NUMBER), "commit": COMMIT, "subject": f"Version {version}", "branch": BRANCH,
            "architectures": list(ARCHITECTURES),
            "sha256": {a: hashlib.sha256((files / f"{a}.tar").read_bytes()).hexdigest() for a in ARCHITECTURES},
        }  # fmt: skip
        (files / "job.json").write_text(json.dumps(description))
        link = settings.served / "current"
        wanted = {"installable": ref(app_id(NUMBER), "x86_64"), "listed": "appstream2/x86_64"}
        before = {name: self._served(which) for name, which in wanted.items()}
        seen, at = os.readlink(link), {}
        begin = time.monotonic()

        def look() -> None:
            nonlocal seen
            if os.readlink(link) == seen:
                return
            now, seen = time.monotonic() - begin, os.readlink(link)
            for name, which in wanted.items():
                if name not in at and self._served(which) != before[name]:
                    at[name] = now

        taken = self._run(look)
        result = json.loads((settings.results / f"{job}.json").read_text())
        if result["status"] != "published" or at.keys() != wanted.keys():
            raise RuntimeError(f"version {version} was not published: {result}, switched: {at}")
        stages: dict[str, float] = {}
        for line in self._log.read_text().splitlines():
            _, seconds, name = line.split(maxsplit=2)
            # Summary and switch come twice.
            name = f"{name} (listed)" if name in stages else name
            stages[name] = stages.get(name, 0) + float(seconds)
        return Figures(at["installable"], at["listed"], taken.cpu_seconds, taken.largest_process_mib, stages=stages)

    def _served(self, which: str) -> str:
        return (self._machine.settings.served / "current/refs/heads" / which).read_text()
