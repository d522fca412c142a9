"""Running programs, with what they take."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Words = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Taken:
    """What a program took, with those of its descendants that were waited for: seconds of user and system time, and
    the memory of the largest process in MiB."""

    cpu_seconds: float
    largest_process_mib: float


def run(argv: Words) -> None:
    """Run a program quietly; on failure show what it said and raise CalledProcessError."""
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.stderr.write(done.stdout.decode(errors="replace")[-4000:])
        done.check_returncode()


def run_watched(argv: Words, while_running: Callable[[], None]) -> Taken:
    """Run a program, calling `while_running` again and again. Raises CalledProcessError, after showing what it said."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        output: list[bytes] = []
        reader = threading.Thread(target=lambda: output.append(child.stdout.read()))
        reader.start()
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            while_running()
            if pid:
                break
            time.sleep(0.002)
        child.returncode = os.waitstatus_to_exitcode(status)
        reader.join()
    if child.returncode:
        sys.stderr.write(b"".join(output).decode(errors="replace")[-4000:])
        raise subprocess.CalledProcessError(child.returncode, [str(word) for word in argv])
    return Taken(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
