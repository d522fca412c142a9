"""nginx's worker processes: a reload leaves those before it alive for as long as their connections last.

That is what builds of remote builders need, which may take hours. When a builder is taken off the list, though, its
connection has to end, and nothing but the end of the process that holds it does that.
"""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

DEADLINE_SECONDS = 30
POLL_SECONDS = 0.1


def workers_of(main_pid: int) -> set[int]:
    """The processes that nginx's main process has started; none if it does not run."""
    try:
        return {int(pid) for pid in Path(f"/proc/{main_pid}/task/{main_pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def end_old_workers(main_pid: int, before: set[int]) -> None:
    """After a reload, end the workers that were there before it, once there are new ones.

    Raises TimeoutError if none comes, or an old one stays.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not workers_of(main_pid) - before:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nginx has no new workers {DEADLINE_SECONDS} s after its reload")
        time.sleep(POLL_SECONDS)
    while left := workers_of(main_pid) & before:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nginx's workers {sorted(left)} do not end within {DEADLINE_SECONDS} s")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(POLL_SECONDS)


def taken_off(previous: Path | None, release: Path) -> set[str]:
    """The fingerprints that the previous release lists and this one does not; folders of releases."""

    def listed(folder: Path) -> set[str]:
        inventory = json.loads((folder / "generated/inventory.json").read_text())
        return {worker["fingerprint"] for worker in inventory.get("workers", [])}

    return listed(previous) - listed(release) if previous else set()
