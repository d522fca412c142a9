"""The refs of a build."""

import json

import pytest

from publishing import refs
from publishing.job import InvalidJob, parse

APP = "org.flathub.App"
JOB = parse(
    json.dumps(
        {"id": "1", "app": APP, "commit": "0" * 40, "subject": "", "branch": "stable",
         "architectures": ["arm"], "sha256": {"arm": "0" * 64}}
    ),
    "1",
)  # fmt: skip
OWN = f"app/{APP}/arm/stable"


def test_an_error_names_a_few_of_many():
    foreign = {f"app/org.flathub.Other{number}/arm/stable" for number in range(10_000)}
    with pytest.raises(InvalidJob, match="not this build's: .*Other0/.*, and 9995 more") as raised:
        refs.check(JOB, "arm", {OWN} | foreign)
    assert len(str(raised.value)) < 500
    with pytest.raises(InvalidJob, match="is missing; found none"):
        refs.check(JOB, "arm", set())


METADATA = f"[Application]\nname={APP}\nruntime=org.flathub.Platform/arm/1\n"


@pytest.mark.parametrize("more", ["", "[DEFAULT]\nx=1\n", "[Environment]\nPATH=/app/bin\npath=x:y\n# why\n\n"])
def test_metadata(more):
    refs._check_metadata(OWN, METADATA + more)


@pytest.mark.parametrize(
    "text",
    [
        METADATA + " name=org.flathub.Other\n",
        METADATA + "\t[Application]\n",
        METADATA + "name=org.flathub.Other\n",
        METADATA + "[Application]\nname=org.flathub.Other\n",
        METADATA.replace("name=", "name:"),
        METADATA.replace("name=", "Name="),
        METADATA.replace("/arm/", "/x86_64/"),
        "[DEFAULT]\n" + METADATA.partition("\n")[2] + "[Application]\n",
    ],
)
def test_metadata_that_readers_would_take_differently_or_of_something_else(text):
    with pytest.raises(InvalidJob, match="its metadata"):
        refs._check_metadata(OWN, text)
