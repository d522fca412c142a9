"""A repository machine below a directory, made with the project's own code: the same directories, signer and settings,
but one user, and without systemd."""

import compileall
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROLE = Path(__file__).resolve().parents[2] / "services/repo"
sys.path.insert(0, str(ROLE))

from publishing import signing, storage
from publishing.repository import initialise
from publishing.settings import Settings

# Of a key that signs nothing but benches.
PASSPHRASE = "bench"


def _gpg(home: Path, *words: str) -> str:
    argv = ["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", PASSPHRASE, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def make_key(home: Path) -> str:
    """The armored signing subkey of a new key, without its primary one; `home` is a directory that is not there."""
    home.mkdir(mode=0o700)
    try:
        _gpg(home, "--quick-gen-key", "Flathub bench <bench@flathub.test>", "ed25519", "cert", "never")
        listing = _gpg(home, "--with-colons", "--list-keys")
        primary = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
        _gpg(home, "--quick-add-key", primary, "ed25519", "sign", "never")
        return _gpg(home, "--armor", "--export-secret-subkeys", primary)
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


class Machine:
    """Settings for a publisher below `root`, and an agent that signs; end it with `close`."""

    def __init__(self, root: Path, key_file: Path) -> None:
        settings = Settings(root=root)
        # Compiled, as a delivery leaves it on the machine; the project itself is read-only here.
        self.role = root / "role"
        shutil.copytree(ROLE, self.role)
        compileall.compile_dir(self.role, quiet=1)
        unpack = (
            f"import sys; from pathlib import Path; sys.path.insert(0, {str(self.role)!r})\n"
            "from publishing.settings import Settings; from publishing.unpack import unpack_requested\n"
            f"unpack_requested(Settings(root=Path({str(root)!r})))"
        )
        self.settings = replace(settings, unpack_command=(sys.executable, "-B", "-c", unpack))
        for directory in storage.directories(self.settings):
            directory.path.mkdir(parents=True, exist_ok=True)
        self.settings.agent_socket.parent.mkdir(parents=True, exist_ok=True)
        signing.write_home(self.settings.signer, self.settings.agent_socket)
        signing.write_home(self.settings.keyring, self.settings.signing_socket)
        signing.write_agent_configuration(self.settings)
        self._agent = self._start_agent()
        try:
            signing.import_key(self.settings, key_file)
            signing.unlock(self.settings, PASSPHRASE)
        except BaseException:
            self.close()
            raise

    def _start_agent(self) -> subprocess.Popen[bytes]:
        settings = self.settings
        agent = subprocess.Popen(
            ["gpg-agent", "--homedir", settings.signer, "--extra-socket", settings.signing_socket]
            + ["--daemon", "--", "sleep", "infinity"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not (settings.agent_socket.exists() and settings.signing_socket.exists()):
            if time.monotonic() > deadline:
                agent.kill()
                raise TimeoutError(f"gpg-agent made no socket in {settings.agent_socket.parent} in 20 s")
            time.sleep(0.01)
        return agent

    @property
    def gpg_options(self) -> tuple[str, ...]:
        """What flatpak and ostree need to sign."""
        return (f"--gpg-sign={signing.fingerprint(self.settings)}", f"--gpg-homedir={self.settings.keyring}")

    def initialise(self) -> None:
        """Bring the repository's options up to date, as a delivery does."""
        initialise(self.settings)

    def close(self) -> None:
        argv = ["gpg-connect-agent", "--no-autostart", "--homedir", self.settings.signer, "KILLAGENT", "/bye"]
        subprocess.run(argv, check=False, capture_output=True)
        self._agent.terminate()
        self._agent.wait()
