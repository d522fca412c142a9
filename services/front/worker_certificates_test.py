"""The watch over the certificates, run as its unit runs it."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import worker_certificates
from site_configuration import parse_inventory

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def inventory(**left: float) -> str:
    """An inventory whose certificates have so many days left; `proxy` is the port's own."""
    expires = {name: (datetime.now(UTC) + timedelta(days=days)).isoformat() for name, days in left.items()}
    return json.dumps(
        {
            "domain": "flathub.test",
            "publicUrl": "http://flathub.test",
            "repositoryUrl": "http://dl.flathub.test/repo/",
            "master": "10.17.0.10",
            "repo": "10.17.0.20",
            "workerProxy": {"name": "workers.flathub.test", "expires": expires.pop("proxy")},
            "workers": [
                {"name": name, "fingerprint": f"{number:040x}", "expires": end}
                for number, (name, end) in enumerate(expires.items())
            ],
        }
    )


def watch(folder: Path, text: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    (folder / "inventory.json").write_text(text)
    command = [sys.executable, worker_certificates.__file__, str(folder / "inventory.json"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result, json.loads((folder / "worker-certificates.json").read_text())


@pytest.mark.parametrize(
    ("left", "short"),
    [
        ({"proxy": 400, "one": 500}, []),
        ({"proxy": 60.5, "one": 500}, []),
        ({"proxy": 59.5, "one": 500}, ["workers.flathub.test has 59 days left"]),
        ({"proxy": 400, "one": 10, "two": -3.5}, ["two has -4 days left", "one has 9 days left"]),
    ],
)
def test_it_fails_when_one_ends_soon(tmp_path, left, short):
    result, document = watch(tmp_path, inventory(**left))
    assert result.returncode == (1 if short else 0)
    for message in short:
        assert message in result.stderr
    assert ("end in less than 60 days" in result.stderr) == bool(short)
    # Told in either case, the one that ends first being first.
    days = [each["daysLeft"] for each in document["certificates"]]
    assert days == sorted(days) and len(days) == len(left)
    assert {each["name"] for each in document["certificates"]} == {*left, "workers.flathub.test"} - {"proxy"}


def test_the_report_counts_whole_days():
    ends = NOW + timedelta(days=100, hours=-1)
    parsed = parse_inventory(
        inventory(proxy=400).replace(
            '"workers": []',
            '"workers": ' + json.dumps([{"name": "one", "fingerprint": "0" * 40, "expires": ends.isoformat()}]),
        )
    )
    report = worker_certificates.report(parsed, NOW)
    assert report["checked"] == "2026-11-23T12:00:00+00:00"
    assert report["certificates"][0] == {"name": "one", "expires": "2027-03-03T11:00:00+00:00", "daysLeft": 99}
