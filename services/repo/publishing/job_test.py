"""job.json, every field of it."""

import json

import pytest

from publishing.job import InvalidJob, check_sums, is_job_id, load, parse

GOOD = {
    "id": "12",
    "app": "org.flathub.Hello-App",
    "commit": "0" * 40,
    "subject": "Größer; $(true)",
    "branch": "stable",
    "architectures": ["x86_64", "i386"],
    "sha256": {"x86_64": "0" * 64, "i386": "f" * 64},
}


def test_a_good_one():
    job = parse(json.dumps(GOOD), "12")
    assert (job.app, job.architectures) == ("org.flathub.Hello-App", ("i386", "x86_64"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "13"),
        ("id", "../12"),
        ("id", 12),
        ("sha256", {}),
        ("sha256", {"x86_64": "0" * 64}),
        ("sha256", {"x86_64": "0" * 64, "i386": "F" * 64}),
        ("sha256", {"x86_64": "0" * 64, "i386": 0}),
        ("sha256", {"x86_64": "0" * 64, "i386": "0" * 64, "arm": "0" * 64}),
        ("sha256", "0" * 64),
        ("app", "Hello"),
        ("app", "org.flathub"),
        ("app", "org.flathub.Hello/x86_64/stable"),
        ("app", "org.flathub.Hello\n"),
        ("app", "org.fläthub.Hello"),
        ("app", "org.flathub.--help.-x"),
        ("app", "a.b." + "c" * 300),
        ("commit", "HEAD"),
        ("commit", "0" * 39),
        ("subject", "two\nlines"),
        ("subject", "\x1b[2J"),
        ("subject", "x" * 501),
        ("subject", None),
        ("subject", ["x" * 50_000]),
        ("branch", "beta"),
        ("architectures", []),
        ("architectures", "x86_64"),
        ("architectures", ["x86_64", "x86_64"]),
        ("architectures", ["mips"]),
        ("architectures", [["x86_64"]]),
        ("architectures", [{}]),
    ],
)
def test_a_bad_value_is_named(key, value):
    with pytest.raises(InvalidJob, match=f"job.json: {key}: expected") as raised:
        parse(json.dumps({**GOOD, key: value}), "12")
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("text", ["", "[]", "{", "null", json.dumps({**GOOD, "more": 1}), "[" * 100_000])
def test_what_is_no_job(text):
    with pytest.raises(InvalidJob, match="job.json"):
        parse(text, "12")


def directory(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(GOOD))
    for architecture in GOOD["architectures"]:
        (tmp_path / f"{architecture}.tar").touch()
    return tmp_path


def test_the_files_of_a_job(tmp_path):
    assert load(directory(tmp_path), "12").id == "12"


@pytest.mark.parametrize("change", ["missing", "more", "link", "huge", "binary"])
def test_other_files_than_those_of_a_job(tmp_path, change):
    path = directory(tmp_path)
    if change == "missing":
        (path / "i386.tar").unlink()
    elif change == "more":
        (path / "arm.tar").touch()
    elif change == "link":
        (path / "i386.tar").unlink()
        (path / "i386.tar").symlink_to("/etc/passwd")
    elif change == "huge":
        (path / "job.json").write_text(" " * 100_000)
    else:
        (path / "job.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidJob):
        load(path, "12")


def test_the_checksums_of_the_tars(tmp_path):
    path = directory(tmp_path)
    with pytest.raises(InvalidJob, match="i386.tar: its SHA-256 is e3b0c442"):
        check_sums(path, load(path, "12"))


@pytest.mark.parametrize("name", ["0", "01", "a1", "1a", "-1", "1.0", "", "1" * 19, "\u0661"])
def test_a_job_has_the_number_of_a_build(name):
    assert not is_job_id(name)
