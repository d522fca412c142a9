"""The memory of everything that works for a publish at one moment."""

import os
import threading
from pathlib import Path
from typing import Self


def processes() -> list[int]:
    """The numbers of all processes that are there now."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


class Memory:
    """Watches, while it is entered, the sum of the proportional set sizes of all processes that were not there before.

    Looking costs time, so it is for rounds whose times do not count. There must be no other work in the namespace of
    processes.
    """

    def __init__(self) -> None:
        self._apart = set(processes())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak_mib = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            kib = 0
            for process in processes():
                if process in self._apart:
                    continue
                try:
                    text = Path(f"/proc/{process}/smaps_rollup").read_text()
                except OSError:
                    continue
                kib += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
            self.peak_mib = max(self.peak_mib, kib / 1024)
