"""Tests of what every machine is set up by: the parts that decide. The whole is in guest_machine_test.py."""

import importlib.machinery
import importlib.util
import pathlib
import sys

import pytest

FILES = pathlib.Path(__file__).parent / "files/machine"
sys.path.insert(0, str(FILES))
import machine_setup


class TestWaitUntil:
    """Polls of a condition with a deadline."""

    def test_ends_when_the_condition_holds(self, capsys):
        answers = iter(["no carrier", "no carrier", None])
        machine_setup.wait_until("route", "look", lambda: next(answers), 10, clock=lambda: 0, sleep=lambda _: None)
        assert capsys.readouterr().out == "waiting for route: no carrier\nroute: there\n"

    def test_names_what_is_missing_and_what_to_do(self):
        times = iter([1, 11])
        with pytest.raises(machine_setup.SetupError) as error:
            machine_setup.wait_until(
                "DNS", "look at it", lambda: "x", 10, clock=lambda: next(times), sleep=lambda _: None
            )
        assert str(error.value) == "no DNS in time: x; look at it"


class TestMirrorHosts:
    """Whom apt asks."""

    def test_the_sources(self):
        targets = "http://mirror.example/debian/\nhttp://mirror.example/debian/\nhttps://other.example:8443/x\n"
        assert machine_setup.mirror_hosts(targets, "") == ["mirror.example", "other.example"]

    def test_the_proxy_if_there_is_one(self):
        assert machine_setup.mirror_hosts("http://mirror.example/debian/", "http://cache:3142") == ["cache"]

    def test_no_host_for_sources_that_are_files(self):
        assert machine_setup.mirror_hosts("file:/srv/mirror\n", "") == []


def test_a_command_that_fails_is_named():
    with pytest.raises(machine_setup.SetupError, match="`false` exited with 1"):
        machine_setup.run("false")


def test_what_is_not_installed_is_missing():
    assert machine_setup.missing(["bash", "no-such-package", "coreutils"]) == ["no-such-package"]


def test_a_first_boot_sets_up_between_its_own_steps(tmp_path, monkeypatch):
    loader = importlib.machinery.SourceFileLoader("first_boot", str(FILES / "first-boot"))
    first_boot = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(first_boot)
    steps = []
    monkeypatch.setattr(first_boot, "run", lambda *command: steps.append(" ".join(command)))
    monkeypatch.setattr(first_boot, "load_firewall", lambda: steps.append("firewall"))
    monkeypatch.setattr(first_boot, "setup", steps.append)
    parameters = {"gateway": "10.17.0.2", "volume": None, "users": ["build"], "packages": ["git"], "role": "builder"}
    first_boot.first_boot(parameters)
    assert steps[-1] == {"users": ["build"], "packages": ["git"]}
    assert steps[-2] == "systemctl enable --now flathub-default-route.service" and "firewall" in steps
