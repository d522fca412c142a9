"""From a push to its publish, with a real master and real workers; only builds and the publisher are stand-ins."""

import json
import socket
import struct
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.change_hook import MAX_BODY_BYTES
from running_master import ARCHITECTURES, SECRET, TOKEN, Flathub, GitHub, wait_for

CONTEXTS = {"flathub/publish", *(f"flathub/build-{architecture}" for architecture in ARCHITECTURES)}


@pytest.fixture(scope="module")
def flathub(tmp_path_factory):
    """One Flathub for all tests here."""
    folder = tmp_path_factory.mktemp("flathub")
    with GitHub(folder / "github").serving() as github:
        running = Flathub(folder, github)
        try:
            running.start()
            yield running
        finally:
            running.stop()


def final_states(flathub, commit):
    """The last state of each context, once each has one."""

    def states():
        known = flathub.github.states(commit)
        done = {context for context, each in known.items() if each[-1] != "pending"}
        return known if done == CONTEXTS else None

    return wait_for(f"final statuses of {commit}", states)


def publishes_of(flathub, commit):
    """The requests to publish a commit."""
    return [path for path in flathub.published if json.loads((path / "job.json").read_text())["commit"] == commit]


def test_a_push_is_built_for_each_architecture_and_published_once(flathub):
    commit = flathub.github.commit("org.example.App", {"org.example.App.json": "{}"})
    delivery = str(uuid.uuid4())
    assert flathub.push("org.example.App", commit, delivery=delivery)[0] in (200, 202)
    states = final_states(flathub, commit)
    assert {context: each[-1] for context, each in states.items()} == dict.fromkeys(CONTEXTS, "success")
    assert all(each[0] == "pending" for each in states.values())
    [published] = publishes_of(flathub, commit)
    assert {path.name for path in published.iterdir()} == {"job.json", *(f"{name}.tar" for name in ARCHITECTURES)}
    for architecture in ARCHITECTURES:
        with tarfile.open(published / f"{architecture}.tar") as tar:
            assert "./org.example.App.json" in tar.getnames()
    job = json.loads((published / "job.json").read_text())
    assert job.pop("id").isdecimal()
    assert job == {
        "app": "org.example.App",
        "commit": commit,
        "subject": "Update org.example.App",
        "branch": "stable",
        "architectures": list(ARCHITECTURES),
    }
    order = [status["context"] for status in flathub.github.statuses if status["state"] == "success"]
    assert order[-1] == "flathub/publish"
    assert {status["authorization"] for status in flathub.github.statuses} == {f"token {TOKEN}"}
    wait_for("uploads removed", lambda: not list((flathub.folder / "uploads").iterdir()))

    # Redelivered: taken for what it is.
    changes = flathub.changes()
    assert flathub.push("org.example.App", commit, delivery=delivery)[0] == 200
    assert flathub.changes() == changes
    assert len(publishes_of(flathub, commit)) == 1


def test_an_architecture_that_fails_is_never_published(flathub):
    commit = flathub.github.commit("org.example.Fails", {"fail-i386": ""})
    flathub.push("org.example.Fails", commit)
    states = final_states(flathub, commit)
    assert {context: each[-1] for context, each in states.items()} == {
        "flathub/build-x86_64": "success",
        "flathub/build-i386": "failure",
        "flathub/publish": "failure",
    }
    assert "success" not in states["flathub/publish"]
    assert publishes_of(flathub, commit) == []
    descriptions = {
        status["context"]: status["description"]
        for status in flathub.github.statuses
        if status["commit"] == commit and status["state"] == "failure"
    }
    assert descriptions == {"flathub/build-i386": "Failed: build", "flathub/publish": "Failed: build"}
    wait_for("uploads removed", lambda: not list((flathub.folder / "uploads").iterdir()))


def test_a_publish_that_fails_is_never_green(flathub):
    commit = flathub.github.commit("org.example.Refused", {"README": ""})
    flathub.push("org.example.Refused", commit)
    states = final_states(flathub, commit)
    assert states["flathub/publish"] == ["pending", "failure"]
    assert len(publishes_of(flathub, commit)) == 1


def test_a_final_status_that_github_refuses_for_a_while_is_sent_again(flathub):
    commit = flathub.github.commit("org.example.Late", {"README": ""})
    flathub.github.refuse = 1
    flathub.push("org.example.Late", commit)
    assert final_states(flathub, commit)["flathub/publish"][-1] == "success"
    assert flathub.github.refuse == 0


def test_what_is_no_signed_push_to_the_default_branch_starts_nothing(flathub):
    commit = flathub.github.commit("org.example.App", {"org.example.App.json": '{"a": 1}'})
    changes = flathub.changes()
    assert flathub.push("org.example.App", commit, secret="guessed")[0] == 400
    assert flathub.push("org.example.App", commit, branch="topic")[0] == 200
    assert flathub.push("not-an-app", commit)[0] == 200
    assert flathub.changes() == changes


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"{}", {"X-Hub-Signature-256": ""}, b"X-Hub-Signature-256 is missing"),
        (b"not JSON", {}, b"not JSON"),
        (b"{}", {"X-GitHub-Delivery": "short"}, b"X-GitHub-Delivery"),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, b"Content-Type"),
        (b"{}", {}, b"repository.full_name"),
        (b"x" * (MAX_BODY_BYTES + 1), {}, b"larger than"),
    ],
    ids=["unsigned", "not JSON", "no delivery", "a form", "empty", "huge"],
)
def test_a_request_that_makes_no_sense_is_answered_with_the_reason(flathub, body, headers, message):
    changes = flathub.changes()
    status, answer = flathub.hook(body, headers=headers)
    assert status == 400 and message in answer, answer
    assert flathub.changes() == changes


def test_without_a_secret_every_request_is_refused(flathub):
    changes = flathub.changes()
    path = flathub.folder / "secrets/change-hook-secret"
    path.write_text("\n")
    try:
        assert flathub.push("org.example.App", "a" * 40, secret="")[0] == 400
        assert flathub.push("org.example.App", "a" * 40)[0] == 400
    finally:
        path.write_text(SECRET)
    assert flathub.changes() == changes


def test_clients_that_leave_during_an_answer_do_no_harm_to_others(flathub):
    def leave_early(reset: bool) -> None:
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", flathub.web_port), timeout=20) as client:
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(b"GET /api/v2/builders HTTP/1.1\r\nHost: flathub.test\r\n\r\n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(leave_early, [False, True] * 4))
    for _ in range(20):
        assert flathub.request("api/v2/masters")[0] == 200


def test_the_web_service_can_only_be_looked_at(flathub):
    command = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {}}).encode()
    status, body = flathub.request("api/v2/builds/1", command, {"Content-Type": "application/json"})
    assert status == 403, body


def test_a_worker_that_was_taken_out_is_gone_and_the_web_service_stays(flathub):
    flathub.reconfigure({"builder-1": ["i386"]})
    configured = {worker["name"] for worker in flathub.get("workers")["workers"] if worker["configured_on"]}
    assert "builder-1" in configured and "builder-2" not in configured
    for _ in range(20):
        assert flathub.request("api/v2/masters")[0] == 200
    flathub.reconfigure({"builder-1": ["i386"], "builder-2": ["x86_64"]})
    wait_for("the worker is back", flathub.connected)
