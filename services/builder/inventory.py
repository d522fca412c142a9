"""Checks a builder's inventory.json, so that a wrong one is refused before it is in service."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ARCHITECTURES = ("x86_64", "i386", "aarch64", "arm")
NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?")
KEYS = ("name", "master", "architectures", "maxBuilds", "runtimeRemotes")


def is_master(value: object) -> bool:
    """Whether it says where the master is, and by which name its end of TLS is known, if there is TLS."""
    if not isinstance(value, dict) or set(value) != {"host", "port", "tlsName"}:
        return False
    names = [value["host"], *([] if value["tlsName"] is None else [value["tlsName"]])]
    port = value["port"]
    return (
        all(isinstance(name, str) and HOST.fullmatch(name) for name in names)
        and type(port) is int
        and 1 <= port <= 65535
    )


def faults(document: object) -> list[str]:
    """All that is wrong, a line each; empty if nothing is."""
    if not isinstance(document, dict):
        return ["expected an object"]
    found = [f"{key}: unknown key; known: {', '.join(KEYS)}" for key in sorted(set(document) - set(KEYS))]
    found += [f"{key}: missing" for key in KEYS if key not in document]

    def expect(key: str, fine: bool, expected: str) -> None:
        if key in document and not fine:
            found.append(f"{key}: expected {expected}, found {json.dumps(document[key])[:100]}")

    name = document.get("name")
    expect("name", isinstance(name, str) and NAME.fullmatch(name) is not None, "a machine's name")
    expect("master", is_master(document.get("master")), "host, port, and tlsName: a host's name or null")
    offered = document.get("architectures")
    expect(
        "architectures",
        isinstance(offered, list) and bool(offered) and all(item in ARCHITECTURES for item in offered),
        f"some of {', '.join(ARCHITECTURES)}",
    )
    builds = document.get("maxBuilds")
    expect("maxBuilds", type(builds) is int and 1 <= builds <= 16, "a whole number from 1 to 16")
    remotes = document.get("runtimeRemotes")
    expect(
        "runtimeRemotes",
        isinstance(remotes, dict)
        and bool(remotes)
        and all(
            NAME.fullmatch(key) and isinstance(address, str) and URL.fullmatch(address)
            for key, address in remotes.items()
        ),
        "an object of remote's name to http(s) address",
    )
    return found


def main() -> None:
    """Check the file given."""
    path = Path(sys.argv[1])
    try:
        found = faults(json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError) as error:
        sys.exit(f"{path}: {error}")
    if found:
        sys.exit("\n".join(f"{path}: {line}" for line in found))


if __name__ == "__main__":
    main()
