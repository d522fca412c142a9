"""Publishes new versions of an application by the plain sequence and by the project's publisher, in turn.

Runs where flatpak, ostree and gnupg are those of the machines, and is called by bench/publish.ts only:

    measure.py make DIRECTORY REFS                 a signed, settled repository and its key
    measure.py compare CACHED WORK REFS ROUNDS     figures of both sides, as JSON on standard output

What it says on the way goes to standard error.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from builds import Builds
from figures import Figures
from machine import Machine, make_key
from memory import Memory
from plain import Plain
from project import Project
from repository import make_repository

KEY = "signing-key.asc"


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def make(directory: Path, refs: int) -> None:
    """Make repository/ and signing-key.asc in `directory`."""
    (directory / KEY).write_text(make_key(directory / "key-home"))
    shutil.rmtree(directory / "key-home")
    machine = Machine(directory / "machine", directory / KEY)
    try:
        make_repository(directory / "repository", refs, machine.gpg_options, say)
    finally:
        machine.close()
    shutil.rmtree(directory / "machine")


def compare(cached: Path, work: Path, refs: int, rounds: int) -> dict[str, object]:
    """Rounds of both sides in turn, after one whose times do not count, in which memory is watched."""
    machine = Machine(work / "machine", cached / KEY)
    try:
        builds = Builds(work / "builds")
        sides = {
            "plain": Plain(work, machine, cached / "repository"),
            "publisher": Project(work, machine, cached / "repository"),
        }
        memory: dict[str, float] = {}
        figures: dict[str, list[Figures]] = {name: [] for name in sides}
        for version in range(2, rounds + 3):
            tars = builds.make(version)
            for name, side in sides.items():
                # What is still to be written of the side before is not this one's.
                os.sync()
                if name not in memory:
                    with Memory() as watched:
                        side.publish(version, tars)
                    memory[name] = watched.peak_mib
                    continue
                measured = side.publish(version, tars)
                measured.all_processes_mib = memory[name]
                figures[name].append(measured)
                say(f"{refs} refs, {name}: installable {measured.installable:.2f} s, listed {measured.listed:.2f} s")
        return {"refs": refs} | {name: [asdict(entry) for entry in entries] for name, entries in figures.items()}
    finally:
        machine.close()


def main(command: str, *words: str) -> None:
    if command == "make":
        make(Path(words[0]), int(words[1]))
    else:
        print(json.dumps(compare(Path(words[0]), Path(words[1]), int(words[2]), int(words[3]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
