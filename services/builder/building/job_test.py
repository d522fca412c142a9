"""Which arguments run-build accepts."""

import re

import pytest

from building import job as jobs

ARGUMENTS = {
    "architecture": "i386",
    "app": "org.example.App",
    "commit": "c" * 40,
    "build-id": "7",
    "subject": "A change",
    "repository": "http://github.test/flathub/org.example.App.git",
    "output": "/var/lib/worker/build-i386/repo.tar",
}


def parse(**changes):
    """The job of these arguments."""
    given = {**ARGUMENTS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return jobs.parse_arguments([f"--{name}={value}" for name, value in given.items()], ["i386"])


def test_right_arguments():
    given = parse()
    assert given.name == "7-i386"
    assert [given.unit(stage) for stage in jobs.STAGES] == [
        "flathub-build-7-i386-checkout.service",
        "flathub-build-7-i386-fetch.service",
        "flathub-build-7-i386-build.service",
        "flathub-build-7-i386-check.service",
    ]
    assert given.subject == "A change" and not given.end_with_input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architecture", "x86_64"),
        ("architecture", "i386 "),
        ("app", "hello"),
        ("app", "org.example.App;reboot"),
        ("app", "../../etc.passwd"),
        ("app", "org.example.App\n"),
        ("commit", "HEAD"),
        ("commit", "C" * 40),
        ("commit", "c" * 41),
        ("build-id", "0"),
        ("build-id", "07"),
        ("build-id", "7/../8"),
        ("build-id", "9" * 17),
        ("repository", "/etc"),
        ("repository", "file:///etc"),
        ("repository", "ssh://github.test/x"),
        ("repository", "ext::sh -c reboot"),
        ("repository", "http://github.test"),
        ("repository", "http://user@github.test/x"),
        ("repository", "http://user:password@github.test/x"),
        ("repository", "http://-u.test/x"),
        ("repository", "http://github.test/x?y=z"),
        ("repository", "http://github.test/x y"),
        ("repository", "http://github.test/x\n"),
        ("output", "/etc/passwd"),
        ("output", "/var/lib/worker"),
        ("output", "/var/lib/worker/../build"),
        ("output", "build/repo.tar"),
        ("output", "/var/lib/worker-2/repo.tar"),
        ("output", "/var/lib/worker/x/../../../etc/passwd"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(name, value):
    with pytest.raises(jobs.BuildError, match=f"^--{name} {re.escape(repr(value))}: expected") as caught:
        parse(**{name: value})
    assert caught.value.status == 2


def test_a_subject_is_one_printable_line():
    assert parse(subject="a\nb\x1b[31m" + "c" * 500).subject == ("ab[31m" + "c" * 500)[:200]
