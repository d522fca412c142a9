"""run-build as a program; whole builds run on the local stack."""

import contextlib
import importlib.machinery
import importlib.util
import signal
import sys
from pathlib import Path

import pytest

from building.disk import GIB, MAX_SOURCE, Space
from building.job_test import parse

PROGRAM = Path(__file__).with_name("run-build")


@pytest.fixture
def run_build(monkeypatch):
    """run-build as a module; the handlers that it sets are taken back."""
    loader = importlib.machinery.SourceFileLoader("run_build", str(PROGRAM))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    before = {number: signal.getsignal(number) for number in module.ENDING}
    yield module
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nobody_but_root_may_build(run_build, monkeypatch, capsys):
    monkeypatch.setattr(run_build.os, "geteuid", lambda: 1000)
    assert run_build.main() == 2
    assert capsys.readouterr().out == "run-build: ERROR: run this as root\n"


def test_a_signal_ends_it_once_and_cleaning_up_is_not_disturbed(run_build, monkeypatch, capsys):
    cleaned = []

    def interrupted(*_):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            cleaned.append(True)

    monkeypatch.setattr(run_build.os, "geteuid", lambda: 0)
    monkeypatch.setattr(run_build, "INVENTORY", PROGRAM.with_name("building") / "none.json")
    monkeypatch.setattr(run_build.Path, "read_text", lambda *_: '{"architectures": []}')
    monkeypatch.setattr(run_build, "parse_arguments", interrupted)
    assert run_build.main() == 3
    assert cleaned == [True]
    assert capsys.readouterr().out == "run-build: ERROR: ended by SIGTERM\n"


def test_the_stages_run_in_order_within_their_limits_and_behind_the_firewall(run_build, monkeypatch):
    ran = []

    def run_stage(job, stage, command, max_builds, allowance, max_space):
        ran.append((stage, Path(command[0]).name, max_builds, max_space))
        deadlines.add(allowance.deadline)

    deadlines = set()
    monkeypatch.setattr(run_build, "work_folder", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(run_build, "shared_home", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(run_build, "free_space", lambda _: Space(21 * GIB, 1_020_000))
    monkeypatch.setattr(run_build, "used_space", lambda _: Space(0, 0))
    monkeypatch.setattr(run_build, "ensure_rules", lambda: ran.append("firewall"))
    monkeypatch.setattr(run_build, "run_stage", run_stage)
    monkeypatch.setattr(run_build, "find_manifest", lambda _: ran.append("manifest") or "org.example.App.json")
    monkeypatch.setattr(run_build, "write_tar", lambda _: ran.append("pack"))
    run_build.build(parse(), {"maxBuilds": 2, "runtimeRemotes": {}})
    share = Space(10 * GIB, 500_000)
    assert ran == [
        "firewall",
        ("checkout", "check-out", 2, MAX_SOURCE),
        "manifest",
        "firewall",
        ("fetch", "build-in-unit", 2, share),
        ("build", "build-in-unit", 2, share),
        ("check", "build-in-unit", 2, share),
        "pack",
    ]
    assert len(deadlines) == 1
