"""A stage's unit: its properties, and when following it ends it. The units themselves run on the local stack."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from building import job as jobs
from building import unit
from building.disk import MAX_WORK, Space
from building.job_test import parse


def values(stage, max_builds=1):
    """The properties of a stage's unit: name to its values."""
    found = {}
    for one in unit.properties(parse(), stage, max_builds, 60):
        name, _, value = one.partition("=")
        found.setdefault(name, []).append(value)
    return found


def test_what_runs_nothing_of_the_apps_has_a_network():
    assert "PrivateNetwork" not in values("checkout") and "PrivateNetwork" not in values("fetch")
    assert values("build")["PrivateNetwork"] == values("check")["PrivateNetwork"] == ["yes"]


def test_only_fetching_may_write_what_builds_share():
    assert values("fetch")["ReadWritePaths"] == ["/var/lib/build/home"]
    assert values("fetch")["ReadOnlyPaths"] == ["/run"]
    for stage in ("checkout", "build", "check"):
        assert values(stage)["ReadOnlyPaths"] == ["/run", "/var/lib/build/home"]
        assert "ReadWritePaths" not in values(stage)


def test_a_file_of_a_checkout_may_be_smaller_than_one_of_a_build():
    assert (values("checkout")["LimitFSIZE"], values("build")["LimitFSIZE"]) == ([str(2 << 30)], [str(16 << 30)])


@pytest.mark.parametrize("stage", jobs.STAGES)
def test_a_stage_sees_its_own_work_folder_and_no_credentials(stage):
    found = values(stage)
    hidden = " ".join(found["InaccessiblePaths"]).split()
    assert {"-/etc/flathub", "-/var/lib/worker", "-/run/credentials"} <= set(hidden)
    assert found["TemporaryFileSystem"][0].startswith("/var/lib/build/builds:ro")
    assert found["BindPaths"][0].split()[0] == "/var/lib/build/builds/7-i386"
    assert found["ProtectProc"] == ["invisible"] and found["NoNewPrivileges"] == ["yes"]


def test_builds_side_by_side_share_the_memory():
    assert values("build")["MemoryMax"] == ["85%"] and values("build", 4)["MemoryMax"] == ["21%"]


def test_the_command_line_carries_no_variable_of_the_workers(monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/worker")
    line = unit.arguments(parse(), "build", ["true", "$(reboot)"], 1, 60)
    assert [one.split("=")[1] for one in line if one.startswith("--setenv=")] == [
        *("PATH", "HOME", "LANG", "LC_ALL", "XDG_CACHE_HOME")
    ]
    assert line[line.index("--") + 1 :] == ["true", "$(reboot)"]
    assert "--expand-environment=no" in line


def test_a_stage_that_was_stopped_has_failed_and_has_a_deadline():
    """systemd takes a signal's end for success in every type but this one, whose deadline is that of its start."""
    assert "--service-type=oneshot" in unit.arguments(parse(), "build", ["true"], 1, 60)
    assert values("build")["TimeoutStartSec"] == ["60"]


@pytest.fixture
def follow(tmp_path, monkeypatch, capfdbinary):
    """Follows a shell's script as if it were a build's unit; ends it afterwards. Returns its exit status."""
    monkeypatch.setattr(jobs, "BUILDS", tmp_path)
    monkeypatch.setattr(unit, "WATCH_SECONDS", 0.05)
    (tmp_path / "7-i386").mkdir()
    started = []

    def run(script, output_bytes=10_000, max_space=MAX_WORK, **changes):
        process = subprocess.Popen(
            ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path / "7-i386"
        )
        started.append(process)
        allowance = unit.Allowance(time.monotonic() + 60, output_bytes)
        watch = unit.DiskWatch(tmp_path / "7-i386", "build", max_space)
        return unit.follow(replace(parse(), **changes), process, allowance, watch)

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_output_is_passed_on_to_its_last_byte(follow, capfdbinary):
    assert follow("i=0; while [ $i -lt 1000 ]; do echo 123456; i=$((i+1)); done; echo error >&2; exit 7") == 7
    assert capfdbinary.readouterr().out == b"123456\n" * 1000 + b"error\n"


def test_output_without_end_ends_the_build(follow, capfdbinary):
    with pytest.raises(jobs.BuildError, match=r"printed more than \d+ bytes"):
        follow("while :; do echo spam; done")
    assert len(capfdbinary.readouterr().out) <= 10_000


def test_output_is_counted_over_all_stages(tmp_path):
    allowance = unit.Allowance(time.monotonic() + 60, 10)
    for expected in (4, -1):
        process = subprocess.Popen(["printf", "123456"], stdout=subprocess.PIPE)
        if expected > 0:
            assert unit.follow(parse(), process, allowance, unit.DiskWatch(tmp_path, "build", MAX_WORK)) == 0
            assert allowance.output_bytes == expected
        else:
            with pytest.raises(jobs.BuildError, match="printed more"):
                unit.follow(parse(), process, allowance, unit.DiskWatch(tmp_path, "build", MAX_WORK))
        process.wait()
        process.stdout.close()


def test_a_work_folder_that_grows_too_large_ends_the_build(follow):
    hidden = "mkdir closed; head -c 300000 /dev/zero >closed/file; chmod 0 closed; sleep 60"
    with pytest.raises(
        jobs.BuildError, match="the build has come to .*; at most 200000 bytes in 100 files are allowed"
    ):
        follow(hidden, max_space=Space(200_000, 100))


def test_too_many_files_end_the_build(follow):
    with pytest.raises(jobs.BuildError, match=r"come to \d+ bytes in 21 files on disk; at most 1.0 GiB in 20 files"):
        follow("touch $(seq 20); sleep 60", max_space=Space(1 << 30, 20))


@pytest.mark.parametrize("spare", [Space(1 << 60, 1), Space(1, 1 << 60)], ids=["bytes", "files"])
def test_a_full_disk_ends_the_build(follow, monkeypatch, spare):
    monkeypatch.setattr(unit, "SPARE", spare)
    monkeypatch.setattr(unit, "free_space", lambda _: Space(1 << 40, 1 << 30))
    with pytest.raises(jobs.BuildError, match="the disk is full at the build"):
        follow("sleep 60")


def test_a_closed_input_ends_the_build(follow, monkeypatch):
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(jobs.BuildError, match="gone or has cancelled") as caught:
            follow("sleep 60", end_with_input=True)
    assert caught.value.status == 3


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Stand-ins for systemd-run and systemctl, since this host may run no systemd: `systemd-run` becomes a script."""
    monkeypatch.setattr(jobs, "BUILDS", tmp_path)
    (tmp_path / "7-i386").mkdir()

    def install(script):
        (tmp_path / "systemd-run").write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\n{script}\n")
        (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\nkill "$(cat {tmp_path}/pid)"\n')
        for name in ("systemd-run", "systemctl"):
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path / "called"

    return install


def test_a_failed_stage_is_named(systemd):
    called = systemd("exit 5")
    with pytest.raises(jobs.BuildError, match="the fetch failed with exit status 5"):
        unit.run_stage(parse(), "fetch", [], 1, unit.Allowance(time.monotonic() + 60), MAX_WORK)
    assert not called.exists()


def test_a_stopped_stage_says_so(systemd):
    systemd("exit 255")
    with pytest.raises(jobs.BuildError, match="the build was stopped, for its use of memory or from outside"):
        unit.run_stage(parse(), "build", [], 1, unit.Allowance(time.monotonic() + 60), MAX_WORK)


def test_a_stage_that_systemd_ended_at_the_deadline_says_so(systemd):
    systemd("exit 1")
    with pytest.raises(jobs.BuildError, match="did not end in time: its build was ended"):
        unit.run_stage(parse(), "build", [], 1, unit.Allowance(time.monotonic()), MAX_WORK)


def test_a_stage_that_must_end_is_stopped_by_its_units_name(systemd, monkeypatch):
    called = systemd("exec sleep 60")
    monkeypatch.setattr(unit, "SPARE", Space(1 << 60, 0))
    with pytest.raises(jobs.BuildError, match="the disk is full"):
        unit.run_stage(parse(), "build", [], 1, unit.Allowance(time.monotonic() + 60), MAX_WORK)
    assert called.read_text() == "stop flathub-build-7-i386-build.service\n"


def test_a_stage_that_still_prints_while_it_is_stopped_is_not_waited_for(systemd):
    """systemd-run tells how the unit ended, into a pipe that may be full."""
    systemd("trap 'yes | head -c 300000; exit' TERM; yes & while :; do wait; done")
    with pytest.raises(jobs.BuildError, match="printed more than"):
        unit.run_stage(parse(), "build", [], 1, unit.Allowance(time.monotonic() + 60, 1000), MAX_WORK)
