"""Each wrong value of a builder's inventory is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import inventory

DOCUMENT = {
    "name": "builder-1",
    "master": {"host": "10.17.0.10", "port": 9989, "tlsName": None},
    "architectures": ["i386"],
    "maxBuilds": 2,
    "runtimeRemotes": {"runtimes": "http://runtimes.test/runtimes.flatpakrepo"},
}


def test_a_right_one_is_accepted():
    assert inventory.faults(DOCUMENT) == []
    remote = {"host": "198.51.100.7", "port": 9990, "tlsName": "workers.flathub.test"}
    assert inventory.faults({**DOCUMENT, "master": remote}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Builder"),
        ("name", None),
        ("master", "10.17.0.10"),
        ("master", {"host": "10.17.0.10", "port": 9989}),
        ("master", {"host": "a b", "port": 9989, "tlsName": None}),
        ("master", {"host": "10.17.0.10", "port": 0, "tlsName": None}),
        ("master", {"host": "10.17.0.10", "port": True, "tlsName": None}),
        ("master", {"host": "10.17.0.10", "port": 9989, "tlsName": ""}),
        ("master", {"host": "10.17.0.10", "port": 9989, "tlsName": None, "tls": True}),
        ("architectures", []),
        ("architectures", "i386"),
        ("architectures", ["riscv64"]),
        ("architectures", [["i386"]]),
        ("maxBuilds", 0),
        ("maxBuilds", 17),
        ("maxBuilds", True),
        ("maxBuilds", 1.0),
        ("runtimeRemotes", {}),
        ("runtimeRemotes", {"--gpg": "http://x"}),
        ("runtimeRemotes", {"runtimes": "file:///etc"}),
        ("runtimeRemotes", {"runtimes": None}),
    ],
)
def test_a_wrong_value_is_named(key, value):
    [fault] = inventory.faults({**DOCUMENT, key: value})
    assert fault.startswith(f"{key}: expected ") and fault.endswith(f"found {json.dumps(value)[:100]}")


@pytest.mark.parametrize("key", sorted(DOCUMENT))
def test_a_missing_field_is_named(key):
    assert inventory.faults({name: value for name, value in DOCUMENT.items() if name != key}) == [f"{key}: missing"]


def test_an_unknown_field_is_named():
    [fault] = inventory.faults({**DOCUMENT, "password": "x"})
    assert fault.startswith("password: unknown key")
    assert inventory.faults([]) == ["expected an object"]


@pytest.mark.parametrize(("text", "status"), [(json.dumps(DOCUMENT), 0), ("{", 1), ("{}", 1)])
def test_the_command_exits_by_what_it_found(tmp_path, text, status):
    path = tmp_path / "inventory.json"
    path.write_text(text)
    command = [sys.executable, str(Path(inventory.__file__)), str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert status == 0 or str(path) in result.stderr
