"""Workers, builders, schedulers and statuses that an inventory gives."""

import json
from pathlib import Path

import pytest
from buildbot.plugins import util
from buildbot.process.buildstep import create_step_from_step_or_factory
from buildbot.process.properties import Properties
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SKIPPED, SUCCESS, WARNINGS
from twisted.internet import defer

from pipeline.builders import make_builders
from pipeline.coordination import Publish
from pipeline.github_api import make_github
from pipeline.inventory import Secrets, parse_inventory
from pipeline.inventory_test import DOCUMENT, PASSWORDS
from pipeline.schedulers import make_schedulers
from pipeline.slots import queue_of
from pipeline.statuses import context, describe, make_reporters
from pipeline.steps import build_steps, job
from pipeline.uploads import build_folder
from pipeline.workers import COORDINATORS, PUBLISH_SLOTS, make_workers

INVENTORY = parse_inventory(DOCUMENT)
SECRETS = Secrets(PASSWORDS, "token")
GITHUB = make_github(INVENTORY, SECRETS)


def properties(**values: object) -> Properties:
    """Properties of a build."""
    made = Properties()
    for name, value in values.items():
        made.setProperty(name, value, "test")
    return made


def rendered(renderable, given: Properties):
    """What a renderable becomes for these properties."""
    result = []
    defer.maybeDeferred(renderable.getRenderingFor, given).addBoth(result.append)
    return result[0]


def test_workers_run_as_many_builds_as_the_inventory_says():
    workers = {worker.name: worker for worker in make_workers(INVENTORY, SECRETS)}
    limits = {name: worker.max_builds for name, worker in workers.items() if not name.startswith("coordinator-")}
    assert limits == {"builder-1": 1, "builder-2": 3, "repo": PUBLISH_SLOTS}
    assert len(workers) == len(limits) + COORDINATORS
    assert {name: workers[name].password for name in limits} == PASSWORDS


def test_each_architecture_has_as_many_builders_as_its_best_worker_runs_builds():
    builders = {builder.name: builder for builder in make_builders(INVENTORY, GITHUB)}
    assert {name: builder.workernames for name, builder in builders.items() if name.startswith("build-")} == {
        "build-x86_64": ["builder-1", "builder-2"],
        "build-x86_64-2": ["builder-2"],
        "build-x86_64-3": ["builder-2"],
        "build-i386": ["builder-1"],
    }
    assert all(builders[name].workernames == ["repo"] for name in builders if name.startswith("publish"))


def test_every_builder_but_the_coordination_is_driven_by_the_scheduler_of_its_queue():
    names = {builder.name for builder in make_builders(INVENTORY, GITHUB)}
    push, *triggered = make_schedulers(INVENTORY)
    assert push.builderNames == ["app"]
    driven = {scheduler.name: scheduler.builderNames for scheduler in triggered}
    assert set(driven) == {"build-x86_64", "build-i386", "publish"}
    assert {name for each in driven.values() for name in each} == names - {"app"}
    assert all(queue_of(name) == queue for queue, each in driven.items() for name in each)


def test_job_of_the_publisher():
    given = properties(
        build_id="7",
        app="org.example.App",
        commit="a" * 40,
        subject='quote " and \n',
        architectures=["i386"],
        sha256={"i386": "f" * 64},
    )
    assert json.loads(rendered(job, given)) == {
        "id": "7",
        "app": "org.example.App",
        "commit": "a" * 40,
        "subject": 'quote " and \n',
        "branch": "stable",
        "architectures": ["i386"],
        "sha256": {"i386": "f" * 64},
    }


@pytest.mark.parametrize("subject", ["$(x) --y", "--fix", "--app=org.example.Other", "-Wall", ""])
def test_the_build_is_one_argument_a_value_and_ends_when_silent(monkeypatch, subject):
    factories = build_steps_of("i386")
    steps = {factory.kwargs.get("name", factory.step_class.name): factory.kwargs for factory in factories}
    assert list(steps) == [
        "attempts",
        "make room",
        "build",
        "measure size",
        "measure checksum",
        "upload",
        "clean up",
    ]
    command = steps["build"]["command"]
    assert command[0] == "/opt/flathub/current/role/request-build"
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "builder")
    from building.job import Job, parse_arguments

    output = Path("/var/lib/worker/build-i386/repo.tar")
    given = properties(
        app="org.example.App", commit="c" * 40, build_id="1", subject=subject, builddir=str(output.parent)
    )
    words = [part if isinstance(part, str) else rendered(part, given) for part in command[1:]]
    repository = f"{INVENTORY.github.url}/flathub/org.example.App.git"
    assert parse_arguments(words, ["i386"]) == Job(
        "i386", "org.example.App", "c" * 40, "1", subject, repository, output, end_with_input=False
    )
    assert steps["build"]["timeout"] < steps["build"]["maxTime"]
    assert steps["clean up"]["alwaysRun"] and not steps["clean up"]["flunkOnFailure"]


def build_steps_of(architecture):
    """The steps' factories."""
    return util.BuildFactory(build_steps(INVENTORY, architecture)).steps


@pytest.mark.parametrize(
    ("results", "complete"),
    [
        ([SUCCESS, SUCCESS], True),
        ([SUCCESS, WARNINGS], True),
        ([SUCCESS, SKIPPED], False),
        ([SUCCESS, FAILURE], False),
        ([SUCCESS, EXCEPTION], False),
        ([SUCCESS, CANCELLED], False),
        ([SUCCESS], False),
        ([], False),
    ],
)
def test_all_or_none(results, complete):
    step = create_step_from_step_or_factory(Publish(builder="publish"))
    step.brids = [1, 2]
    given = [(True, (result, {7: number})) for number, result in enumerate(results, start=1)]
    outcome = []
    step.worstStatus(SUCCESS, given, []).addBoth(outcome.append)
    assert (outcome[0] == SUCCESS) == complete


def test_contexts():
    assert rendered(context, properties(architecture="i386")) == "flathub/build-i386"
    assert rendered(context, properties()) == "flathub/publish"


@pytest.mark.parametrize(
    ("build", "text"),
    [
        ({"complete": False, "results": None}, "Started"),
        ({"complete": True, "results": SUCCESS}, "Done"),
        ({"complete": True, "results": FAILURE, "steps": []}, "Failed"),
        ({"complete": True, "results": CANCELLED, "steps": [{"name": "build", "results": CANCELLED}]}, "Stopped"),
        ({"complete": True, "results": RETRY, "steps": []}, "Interrupted; it will be run again"),
        ({"complete": True, "results": FAILURE, "properties": {"problem": ("x" * 200, "step")}}, "x" * 140),
        (
            {
                "complete": True,
                "results": FAILURE,
                "steps": [
                    {"name": "make room", "results": SUCCESS},
                    {"name": "build", "results": FAILURE},
                    {"name": "upload", "results": SKIPPED},
                ],
            },
            "Failed: build",
        ),
    ],
)
def test_descriptions(build, text):
    assert describe(None, {"build": build}) == {"body": text}


def test_publishing_builds_send_no_status_of_their_own():
    [reporter] = make_reporters(INVENTORY, SECRETS)
    for generator in reporter._config_kwargs["generators"]:
        assert generator.builders == ["app", "build-x86_64", "build-x86_64-2", "build-x86_64-3", "build-i386"]


@pytest.mark.parametrize("name", ["", "..", "7/..", "x", "-1"])
def test_a_folder_of_uploads_is_a_number(name):
    with pytest.raises(ValueError, match="is not a number"):
        build_folder(name)
