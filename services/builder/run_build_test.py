"""run-build as a program; whole builds run on the local stack."""

import importlib.machinery
import importlib.util
import signal
import sys
from pathlib import Path

import pytest

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
