"""The stages' commands, and what runs before them inside the unit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from building import commands
from building.job_test import parse

IN_UNIT = commands.ROLE / "build-in-unit"


def test_both_stages_are_sandboxed_and_know_no_shell():
    job = parse(subject="$(reboot)")
    fetch = commands.fetch(job, "org.example.App.json", {"runtimes": "http://x"})
    build = commands.build(job, "org.example.App.json")
    for command in (fetch, build):
        assert "--sandbox" in command and "--disable-rofiles-fuse" in command
        assert command[-2:] == ["../app", "org.example.App.json"]
        assert command[command.index("flatpak-builder") - 2 :][:2] == ["setarch", "linux32"]
    assert "--download-only" in fetch and "--install-deps-from=runtimes" in fetch
    assert {"--disable-download", "--disable-updates", "--subject=$(reboot)"} <= set(build)
    assert json.loads(fetch[2]) == {
        "app": "org.example.App",
        "manifest": "org.example.App.json",
        "remotes": {"runtimes": "http://x"},
    }


def test_the_checkout_gets_the_address_and_the_commit():
    [program, *given] = commands.checkout(parse())
    assert os.access(program, os.X_OK) and Path(program).name == "check-out"
    assert given == ["http://github.test/flathub/org.example.App.git", "c" * 40]


def run(*arguments, offline=False, **options):
    """build-in-unit, in a network namespace of its own if `offline`."""
    namespace = ["unshare", "--net"] if offline else []
    command = [*namespace, sys.executable, "-B", str(IN_UNIT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_an_offline_stage_runs_without_a_network():
    result = run("offline", "echo", "$HOME ran", offline=True)
    assert (result.returncode, result.stdout) == (0, "$HOME ran\n")


def test_an_offline_stage_refuses_to_run_with_a_network():
    others = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    if others == ["lo"]:
        pytest.skip("this host has no network")
    result = run("offline", "echo", "ran")
    assert result.returncode == 1 and "must have no network" in result.stderr and "ran" not in result.stdout


MANIFEST = {
    "app-id": "org.example.App",
    "runtime": "org.example.Platform",
    "runtime-version": "1",
    "sdk": "org.example.Sdk",
}


@pytest.mark.skipif(not shutil.which("flatpak-builder"), reason="needs flatpak-builder")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("org.example.App.json", MANIFEST, None),
        (
            "org.example.App.json",
            {**MANIFEST, "app-id": "org.example.Other"},
            "the application id is 'org.example.Other'",
        ),
        ("org.example.App.json", {**MANIFEST, "build-extension": True}, "build-extension is set"),
        ("org.example.App.json", "{", "flatpak-builder can't read it"),
        ("org.example.App.yml", "id: org.example.App\nruntime: org.example.Platform\n", None),
        ("org.example.App.yml", "id: org.example.Other\nruntime: org.example.Platform\n", "expected 'org.example.App'"),
    ],
)
def test_the_manifest_must_be_the_apps(tmp_path, name, content, message):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    given = {"app": "org.example.App", "manifest": name, "remotes": {}}
    result = run("fetch", json.dumps(given), "echo", "ran", cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)})
    if message is None:
        assert (result.returncode, result.stdout, result.stderr) == (0, "ran\n", "")
    else:
        assert result.returncode == 1 and message in result.stderr and "ran" not in result.stdout


@pytest.mark.skipif(not shutil.which("flatpak-builder"), reason="needs flatpak-builder")
def test_remotes_follow_their_addresses(tmp_path):
    """A remote's description is read from a file here, from the web on a builder."""
    (tmp_path / "org.example.App.json").write_text(json.dumps(MANIFEST))
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}

    def configured(folder):
        description = tmp_path / f"{folder}.flatpakrepo"
        description.write_text(f"[Flatpak Repo]\nTitle=x\nUrl=http://{folder}.invalid/\n")
        given = {"app": "org.example.App", "manifest": "org.example.App.json", "remotes": {"one": str(description)}}
        result = run(
            "fetch", json.dumps(given), "flatpak", "--user", "remotes", "--columns=url", cwd=tmp_path, env=environment
        )
        assert result.returncode == 0, result.stderr
        return [line for line in result.stdout.splitlines() if line.startswith("http")]

    assert configured("first") == ["http://first.invalid/"]
    assert configured("second") == ["http://second.invalid/"]
