"""Repositories that show the refs of some architectures only, so that their lists of applications are made at once.

They share the objects of the real one, where everything that is made in them ends up. They are kept: at thousands of
refs it is much faster to change what differs than to make them anew.
"""

import json
import shutil

from . import scratch
from .settings import Settings
from .spool import write_json

# flatpak lists applications for i386 among those for x86_64 as well, and those for arm among those for aarch64: it makes
# the branches of both whenever it sees a ref of the one.
TOGETHER = (("x86_64", "i386"), ("aarch64", "arm"))
LISTS = ("appstream", "appstream2")


class View:
    def __init__(self, settings: Settings, architectures: tuple[str, ...]) -> None:
        self.path = settings.views / architectures[0]
        self._settings, self._architectures = settings, architectures
        self._manifest = self.path / "refs.json"

    def update(self, refs: dict[str, str]) -> bool:
        """Show what `refs` says of these architectures; returns whether that is anything."""
        wanted = {ref: commit for ref, commit in refs.items() if self._is_shown(ref)}
        try:
            shown: dict[str, str] = json.loads(self._manifest.read_text())
        except (FileNotFoundError, ValueError):
            # There is none, or a run was killed while it changed.
            shown = {}
            self._make()
        self._manifest.unlink(missing_ok=True)
        # With what must stay free on the volume.
        shutil.copyfile(self._settings.repository / "config", self.path / "config")
        heads = self.path / "refs/heads"
        for ref in shown.keys() - wanted.keys():
            (heads / ref).unlink()
        for ref, commit in wanted.items():
            if shown.get(ref) != commit:
                (heads / ref).parent.mkdir(parents=True, exist_ok=True)
                (heads / ref).write_text(f"{commit}\n")
        write_json(self._manifest, wanted)
        self._update_lists(refs)
        return bool(wanted)

    def _is_shown(self, ref: str) -> bool:
        kind, *parts = ref.split("/")
        return kind in ("app", "runtime") and len(parts) == 3 and parts[1] in self._architectures

    def _make(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        scratch.make(self.path)
        (self.path / "objects").rmdir()
        (self.path / "objects").symlink_to(self._settings.repository / "objects")

    def _update_lists(self, refs: dict[str, str]) -> None:
        """The new lists' parents: what the repository has now, whatever a run that was killed has made here."""
        for kind in LISTS:
            directory = self.path / "refs/heads" / kind
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            for architecture in self._architectures:
                if commit := refs.get(f"{kind}/{architecture}"):
                    (directory / architecture).write_text(f"{commit}\n")

    def lists(self) -> dict[str, str]:
        """The branches with the lists of applications, and their commits."""
        return {
            f"{kind}/{entry.name}": entry.read_text().strip()
            for kind in LISTS
            for entry in (self.path / "refs/heads" / kind).iterdir()
        }
