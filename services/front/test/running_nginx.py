"""A real nginx for tests."""

import socket
import subprocess
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """One nginx in the foreground, ended by its own process."""

    def __init__(self, configuration: Path, port: int) -> None:
        self.configuration, self.port, self.process = configuration, port, None

    def start(self) -> None:
        argv = ["nginx", "-c", str(self.configuration), "-g", "daemon off;"]
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE)
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None:
                raise RuntimeError(self.process.stderr.read().decode())
            if time.monotonic() > end:
                raise TimeoutError("nginx does not listen")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        if self.process:
            self.process.stderr.close()
