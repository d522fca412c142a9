"""From a push to its publish, with a real master and real workers; only builds and the publisher are stand-ins."""

import hashlib
import json
import socket
import struct
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.change_hook import MAX_BODY_BYTES
from running_master import ARCHITECTURES, BUILDERS, MAX_UPLOAD_BYTES, ORGANIZATION, SECRET, TOKEN, wait_for

CONTEXTS = {"flathub/publish", *(f"flathub/build-{architecture}" for architecture in ARCHITECTURES)}


def no_uploads(flathub):
    """Whether the master holds no uploads."""
    return not list((flathub.folder / "uploads").iterdir())


def test_a_push_is_built_for_each_architecture_and_published_once(flathub):
    commit = flathub.github.commit("org.example.App", {"org.example.App.json": "{}"})
    delivery = str(uuid.uuid4())
    assert flathub.push("org.example.App", commit, delivery=delivery)[0] in (200, 202)
    states = flathub.final_states(commit, CONTEXTS)
    assert {context: each[-1] for context, each in states.items()} == dict.fromkeys(CONTEXTS, "success")
    assert all(each[0] == "pending" for each in states.values())
    [published] = flathub.publishes_of(commit)
    assert {path.name for path in published.iterdir()} == {"job.json", *(f"{name}.tar" for name in ARCHITECTURES)}
    for architecture in ARCHITECTURES:
        with tarfile.open(published / f"{architecture}.tar") as tar:
            assert "./org.example.App.json" in tar.getnames()
    job = json.loads((published / "job.json").read_text())
    assert job.pop("sha256") == {
        architecture: hashlib.sha256((published / f"{architecture}.tar").read_bytes()).hexdigest()
        for architecture in ARCHITECTURES
    }
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
    wait_for("uploads removed", lambda: no_uploads(flathub))

    # Redelivered: taken for what it is.
    changes = flathub.changes()
    assert flathub.push("org.example.App", commit, delivery=delivery)[0] == 200
    assert flathub.changes() == changes
    assert len(flathub.publishes_of(commit)) == 1
    # After a newer push, too: the commit is not the last one any more.
    newer = flathub.github.commit("org.example.App", {"README": ""})
    flathub.push("org.example.App", newer)
    assert {each[-1] for each in flathub.final_states(newer, CONTEXTS).values()} == {"success"}
    changes = flathub.changes()
    assert flathub.push("org.example.App", commit, delivery=delivery)[0] == 200
    assert flathub.changes() == changes


def test_an_architecture_that_fails_is_never_published(flathub):
    commit = flathub.github.commit("org.example.Fails", {"fail-i386": ""})
    flathub.push("org.example.Fails", commit)
    states = flathub.final_states(commit, CONTEXTS)
    assert {context: each[-1] for context, each in states.items()} == {
        "flathub/build-x86_64": "success",
        "flathub/build-i386": "failure",
        "flathub/publish": "failure",
    }
    assert "success" not in states["flathub/publish"]
    assert flathub.publishes_of(commit) == []
    descriptions = {
        status["context"]: status["description"]
        for status in flathub.github.statuses
        if status["commit"] == commit and status["state"] == "failure"
    }
    assert descriptions == {"flathub/build-i386": "Failed: build", "flathub/publish": "Failed: build"}
    wait_for("uploads removed", lambda: no_uploads(flathub))


def test_a_publish_that_fails_is_never_green(flathub):
    commit = flathub.github.commit("org.example.Refused", {"README": ""})
    flathub.push("org.example.Refused", commit)
    states = flathub.final_states(commit, CONTEXTS)
    assert states["flathub/publish"][-1] == "failure" and "success" not in states["flathub/publish"]
    assert len(flathub.publishes_of(commit)) == 1


def test_a_final_status_that_github_refuses_for_a_while_is_sent_again(flathub):
    commit = flathub.github.commit("org.example.Late", {"README": ""})
    flathub.github.refuse = 1
    flathub.push("org.example.Late", commit)
    assert flathub.final_states(commit, CONTEXTS)["flathub/publish"][-1] == "success"
    assert flathub.github.refuse == 0


def test_flathub_json_limits_the_architectures(flathub):
    commit = flathub.github.commit("org.example.Limited", {"flathub.json": '{"only-arches": ["arm", "i386"]}'})
    flathub.github.limit = 1
    flathub.push("org.example.Limited", commit)
    states = flathub.final_states(commit, {"flathub/publish", "flathub/build-i386"})
    assert {each[-1] for each in states.values()} == {"success"}
    [published] = flathub.publishes_of(commit)
    job = json.loads((published / "job.json").read_text())
    assert job["architectures"] == list(job["sha256"]) == ["i386"]
    assert not (published / "x86_64.tar").exists()


def test_a_flathub_json_that_can_not_be_followed_is_named_on_the_commit(flathub):
    commit = flathub.github.commit("org.example.Typo", {"flathub.json": '{"skip-arches": ["x86-64"]}'})
    flathub.push("org.example.Typo", commit)
    assert flathub.final_states(commit, {"flathub/publish"})["flathub/publish"][-1] == "failure"
    assert flathub.description(commit, "flathub/publish").startswith(
        'flathub.json: skip-arches: "x86-64": expected one'
    )


def test_a_newer_commit_takes_the_place_of_one_that_waits_and_of_no_other(flathub):
    app = "org.example.Busy"
    running, waiting, newest = [flathub.github.commit(app, {"hold": str(number)}) for number in range(3)]
    flathub.push(app, running)
    wait_for("the first commit is being built", lambda: len(flathub.held(app)) == len(ARCHITECTURES))
    flathub.push(app, waiting)
    other = flathub.github.commit("org.example.Other", {"README": ""})
    flathub.push("org.example.Other", other)
    flathub.push(app, newest)
    states = flathub.final_states(waiting, {"flathub/publish"})
    assert states == {"flathub/publish": ["pending", "error"]}
    assert flathub.description(waiting, "flathub/publish") == f"superseded by {newest}"
    flathub.let_go(app)
    for commit in (running, newest, other):
        assert {each[-1] for each in flathub.final_states(commit, CONTEXTS).values()} == {"success"}
        assert len(flathub.publishes_of(commit)) == 1
    assert flathub.publishes_of(waiting) == []


def test_an_older_commit_that_comes_late_is_not_published_over_a_newer_one(flathub):
    app = "org.example.LateDelivery"
    older, newer = [flathub.github.commit(app, {"README": str(number)}) for number in range(2)]
    flathub.push(app, newer)
    assert flathub.final_states(newer, CONTEXTS)["flathub/publish"][-1] == "success"
    flathub.push(app, older)
    assert flathub.final_states(older, {"flathub/publish"})["flathub/publish"][-1] == "failure"
    assert flathub.description(older, "flathub/publish") == f"superseded by {newer}"
    assert flathub.publishes_of(older) == []


def test_ten_apps_at_once_are_all_built_whatever_their_commits_say(flathub):
    commits = {}
    for number in range(10):
        app = f"org.example.Many{number}"
        commits[app] = flathub.github.commit(app, {"README": app})
    for app, commit in commits.items():
        head = {"id": commit, "message": "Nothing [skip ci] [ci skip] ***NO_CI***", "author": {"name": "A. Hacker"}}
        flathub.push(app, commit, head_commit=head)
    for commit in commits.values():
        states = flathub.final_states(commit, CONTEXTS)
        assert {each[-1] for each in states.values()} == {"success"}
        assert len(flathub.publishes_of(commit)) == 1


def test_a_push_that_is_told_of_late_takes_the_place_of_no_newer_one(flathub):
    app = "org.example.LateHook"
    running, late, newest = [flathub.github.commit(app, {"hold": str(number)}) for number in range(3)]
    flathub.push(app, running)
    wait_for("the first commit is being built", lambda: len(flathub.held(app)) == len(ARCHITECTURES))
    flathub.push(app, newest)
    wait_for("the newest waits", lambda: flathub.github.states(newest))
    flathub.push(app, late)
    wait_for("the late one waits", lambda: flathub.github.states(late))
    # Known already, though it is not what was pushed last.
    changes = flathub.changes()
    assert flathub.push(app, newest) == (200, b"no change found")
    assert flathub.changes() == changes
    flathub.let_go(app)
    for commit in (running, newest):
        assert {each[-1] for each in flathub.final_states(commit, CONTEXTS).values()} == {"success"}
        assert len(flathub.publishes_of(commit)) == 1
    assert flathub.final_states(late, {"flathub/publish"})["flathub/publish"][-1] == "failure"
    assert flathub.description(late, "flathub/publish") == f"superseded by {newest}"
    assert flathub.publishes_of(late) == []


def test_a_branch_that_was_renamed_since_the_push_is_found(flathub):
    app = "org.example.Renamed"
    flathub.github.renamed[app] = "trunk"
    commit = flathub.github.commit(app, {"README": ""})
    flathub.push(app, commit)
    assert {each[-1] for each in flathub.final_states(commit, CONTEXTS).values()} == {"success"}


def test_a_worker_runs_as_many_builds_of_an_architecture_at_once_as_it_may(flathub):
    apps = [f"org.example.Parallel{number}" for number in range(3)]
    commits = [flathub.github.commit(app, {"hold": ""}) for app in apps]

    def held(architecture):
        return sum(build.startswith(f"{architecture}.") for app in apps for build in flathub.held(app))

    for app, commit in zip(apps, commits, strict=True):
        flathub.push(app, commit)
    wait_for("builder-2 builds two", lambda: held("x86_64") == 2 and held("i386") == 1)
    requests = flathub.get("buildrequests?complete=false&waited_for=true")["buildrequests"]
    assert sorted(request["claimed"] for request in requests) == [False] * 3 + [True] * 3
    for app in apps:
        flathub.let_go(app)
    for commit in commits:
        assert {each[-1] for each in flathub.final_states(commit, CONTEXTS).values()} == {"success"}


def test_what_is_too_large_is_not_uploaded_and_nothing_of_it_stays(flathub):
    files = {"size": str(MAX_UPLOAD_BYTES), "flathub.json": '{"only-arches": ["x86_64"]}'}
    commit = flathub.github.commit("org.example.Large", files)
    flathub.push("org.example.Large", commit)
    states = flathub.final_states(commit, {"flathub/publish", "flathub/build-x86_64"})
    assert {each[-1] for each in states.values()} == {"failure"}
    assert flathub.description(commit, "flathub/build-x86_64").startswith("upload: x86_64.tar: has ")
    wait_for("uploads removed", lambda: no_uploads(flathub))
    assert list((flathub.folder / "builder-2").glob("*/repo.tar")) == []


def test_without_room_on_repo_nothing_is_downloaded(flathub):
    commit = flathub.github.commit("org.example.NoRoom", {"README": ""})
    full = flathub.folder / "full"
    full.touch()
    try:
        flathub.push("org.example.NoRoom", commit)
        assert flathub.final_states(commit, CONTEXTS)["flathub/publish"][-1] == "failure"
    finally:
        full.unlink()
    assert flathub.publishes_of(commit) == []
    assert list((flathub.folder / "spool").iterdir()) == []


def test_what_others_left_in_repos_spool_is_removed(flathub):
    for name in ("999999", "not-a-build"):
        (flathub.folder / "spool" / name).mkdir()
    commit = flathub.github.commit("org.example.Leftovers", {"README": ""})
    flathub.push("org.example.Leftovers", commit)
    assert flathub.final_states(commit, CONTEXTS)["flathub/publish"][-1] == "success"
    assert [path.name for path in (flathub.folder / "spool").iterdir()] == ["not-a-build"]


def test_an_operator_stops_a_build_and_nothing_of_it_stays(flathub):
    app = "org.example.Stuck"
    commit = flathub.github.commit(app, {"hold": ""})
    flathub.push(app, commit)
    wait_for("both architectures are being built", lambda: len(flathub.held(app)) == len(ARCHITECTURES))
    assert f"/{app} {commit} under way" in flathub.stop_build()
    number = flathub.stop_build().split()[0]
    assert f"/{app} {commit}" in flathub.stop_build(number)
    assert {each[-1] for each in flathub.final_states(commit, CONTEXTS).values()} == {"error"}
    assert flathub.description(commit, "flathub/publish") == "Stopped"
    assert flathub.stop_build().strip() == "nothing is under way"
    for worker in BUILDERS:
        assert list((flathub.folder / worker).glob("*/repo.tar")) == []
    wait_for("uploads removed", lambda: no_uploads(flathub))


def test_a_publish_that_is_stopped_while_it_waits_is_withdrawn(flathub):
    commit = flathub.github.commit("org.example.StoppedPublish", {"README": ""})
    locked = flathub.folder / "locked"
    locked.touch()
    try:
        flathub.push("org.example.StoppedPublish", commit)
        wait_for("the job waits", lambda: list((flathub.folder / "queue").iterdir()))
        flathub.stop_build(flathub.stop_build().split()[0])
        assert flathub.final_states(commit, CONTEXTS)["flathub/publish"][-1] == "error"
        assert not list((flathub.folder / "queue").iterdir())
    finally:
        locked.unlink()


def repository(**changed):
    """The repository of a payload."""
    known = {"full_name": f"{ORGANIZATION}/org.example.App", "default_branch": "main", "html_url": "http://x.test/y"}
    return {**known, **changed}


@pytest.mark.parametrize(
    "changed",
    [
        {"ref": "refs/heads/topic"},
        {"ref": "refs/tags/main"},
        {"ref": "refs/tags/v1"},
        {"deleted": True, "after": "0" * 40},
        {"repository": repository(full_name="flathub/website")},
        {"repository": repository(full_name="somebody/org.example.App")},
        {"repository": repository(default_branch="trunk")},
    ],
    ids=["another branch", "a tag named as the branch", "a tag", "a deletion", "no app", "a fork", "another default"],
)
def test_what_is_no_push_to_an_apps_default_branch_starts_nothing(flathub, changed):
    changes = flathub.changes()
    status, answer = flathub.push("org.example.App", "a" * 40, **changed)
    assert (status, answer) == (200, b"no change found")
    assert flathub.changes() == changes


@pytest.mark.parametrize("event", ["ping", "pull_request", "create"])
def test_other_events_start_nothing(flathub, event):
    changes = flathub.changes()
    body = json.dumps(flathub.payload("org.example.App", "a" * 40)).encode()
    assert flathub.hook(body, headers={"X-GitHub-Event": event}) == (200, b"no change found")
    assert flathub.changes() == changes


def test_a_push_signed_with_another_secret_is_refused(flathub):
    changes = flathub.changes()
    status, answer = flathub.push("org.example.App", "a" * 40, secret="guessed")
    assert status == 400 and b"X-Hub-Signature-256 does not match" in answer
    assert flathub.changes() == changes


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"{}", {"X-Hub-Signature-256": ""}, b"X-Hub-Signature-256 is missing"),
        (b"not JSON", {}, b"not JSON"),
        (b"{}", {"X-GitHub-Delivery": "short"}, b"X-GitHub-Delivery"),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, b"Content-Type"),
        (b"{}", {"Content-Type": "text/plain"}, b"Content-Type"),
        (b"{}", {"X-Hub-Signature-256": "sha1=" + "0" * 40}, b"expected sha256"),
        (b"{}", {}, b"repository.full_name"),
        (b"[" * 100_000, {}, b"not JSON"),
        (b"x" * (MAX_BODY_BYTES + 1), {}, b"larger than"),
    ],
    ids=["unsigned", "not JSON", "no delivery", "a form", "text", "SHA-1", "empty", "deep", "huge"],
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
    flathub.reconfigure(BUILDERS)
    wait_for("the worker is back", flathub.connected)
