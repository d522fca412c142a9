"""What is lost in the middle of its work: webhooks, workers, transfers, the master."""

import datetime
import json
import os
import signal
import sqlite3

import pytest

from pipeline.attempts import MAX_ATTEMPTS
from running_master import ARCHITECTURES, ORGANIZATION, TOKEN, wait_for

CONTEXTS = {"flathub/publish", *(f"flathub/build-{architecture}" for architecture in ARCHITECTURES)}
LARGE_BYTES = 96 * 1024**2


def announced_to_nobody(flathub, app, files):
    """A commit whose webhook is lost; GitHub's list of repositories has it."""
    commit = flathub.github.commit(app, files)
    flathub.github.pushed_at[app] = datetime.datetime.now(datetime.UTC)
    return commit


def is_green(flathub, commit, contexts=CONTEXTS):
    """Whether each context ended in success, and the commit was published once."""
    states = flathub.final_states(commit, contexts)
    return {each[-1] for each in states.values()} == {"success"} and len(flathub.publishes_of(commit)) == 1


def is_connected(flathub, name):
    """Whether a worker is connected to the master."""
    [worker] = [each for each in flathub.get("workers")["workers"] if each["name"] == name]
    return bool(worker["connected_to"])


def test_a_push_whose_webhook_was_lost_is_found_once(flathub):
    flathub.github.limit = 1
    commit = announced_to_nobody(flathub, "org.example.Lost", {"README": ""})
    assert is_green(flathub, commit)
    # The webhook comes after all.
    changes = flathub.changes()
    assert flathub.push("org.example.Lost", commit) == (200, b"no change found")
    assert flathub.changes() == changes


def test_what_github_has_a_final_status_of_is_not_built_by_a_master_that_never_heard_of_it(flathub):
    app = "org.example.Done"
    commit = flathub.github.commit(app, {"README": ""})
    flathub.github.statuses.append({"app": app, "commit": commit, "context": "flathub/publish", "state": "failure"})
    flathub.github.pushed_at[app] = datetime.datetime.now(datetime.UTC)
    path = f"/api/v3/repos/{ORGANIZATION}/{app}/commits/{commit}/status"
    wait_for("two looks at it", lambda: sum(read.startswith(path) for read in flathub.github.reads) >= 2)
    assert flathub.github.states(commit) == {"flathub/publish": ["failure"]}
    assert commit not in {change["revision"] for change in flathub.get("changes")["changes"]}


def test_what_another_master_left_pending_is_built(flathub):
    app = "org.example.Pending"
    commit = flathub.github.commit(app, {"README": ""})
    flathub.github.statuses.append({"app": app, "commit": commit, "context": "flathub/publish", "state": "pending"})
    flathub.github.pushed_at[app] = datetime.datetime.now(datetime.UTC)
    assert is_green(flathub, commit)


def test_repositories_that_are_no_apps_or_were_not_pushed_to_lately_are_left_alone(flathub):
    now = datetime.datetime.now(datetime.UTC)
    flathub.github.pushed_at["website"] = now
    flathub.github.pushed_at["org.example.Old"] = now - datetime.timedelta(days=8)
    for number in range(110):
        flathub.github.pushed_at[f"no-app-{number}"] = now
    seen = len(flathub.github.reads)
    wait_for("a look at the second page", lambda: any("page=2" in read for read in flathub.github.reads[seen:]))
    assert not any("website" in read or "org.example.Old" in read for read in flathub.github.reads)
    for name in [name for name in flathub.github.pushed_at if name.startswith("no-app-")]:
        del flathub.github.pushed_at[name]


@pytest.mark.parametrize(
    ("direction", "worker", "under_way"),
    [("upload", "builder-2", "uploads/*/buildbot-transfer-*"), ("download", "repo", "spool/*/x86_64.tar")],
)
def test_a_transfer_that_stalls_is_ended_and_made_again(flathub, direction, worker, under_way):
    app = f"org.example.Stalled.{direction}"
    # One architecture, so that what is under way is this worker's.
    files = {"size": str(LARGE_BYTES), "flathub.json": '{"only-arches": ["x86_64"]}'}
    commit = flathub.github.commit(app, files)
    flathub.push(app, commit)
    process = flathub.processes[worker]

    def part_of_it():
        return any(flathub.folder.glob(under_way))

    wait_for(f"part of the {direction}", part_of_it, pause=0.001)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        stalled = f"{direction} of {flathub.folder}/uploads"
        wait_for(
            "the watchdog",
            lambda: any(stalled in line and "no progress" in line for line in flathub.log("master").splitlines()),
        )
        wait_for("the worker's connection is dropped", lambda: not is_connected(flathub, worker))
        assert f"worker {worker}: no sign of life" not in flathub.log("master")
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert is_green(flathub, commit, {"flathub/publish", "flathub/build-x86_64"})
    wait_for("nothing is left", lambda: not any((flathub.folder / "uploads").iterdir()))
    assert not any((flathub.folder / "spool").iterdir())


def test_a_worker_that_gives_no_sign_of_life_is_dropped_and_comes_back(flathub):
    process = flathub.processes["builder-1"]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        wait_for("the master notices", lambda: not is_connected(flathub, "builder-1"))
    finally:
        os.kill(process.pid, signal.SIGCONT)
    wait_for("the worker is back", lambda: is_connected(flathub, "builder-1"))


def test_a_worker_that_is_killed_builds_again_when_it_is_back(flathub):
    app = "org.example.LostWorker"
    commit = flathub.github.commit(app, {"hold": ""})
    flathub.push(app, commit)
    wait_for("both architectures are being built", lambda: len(flathub.held(app)) == 2)
    flathub.kill("builder-2")
    flathub.let_go(app)
    flathub.start_worker("builder-2")
    assert is_green(flathub, commit)
    assert list((flathub.folder / "builder-2").glob("*/repo.tar")) == []


def test_a_build_that_loses_its_worker_again_and_again_is_given_up(flathub):
    app = "org.example.Deadly"
    commit = flathub.github.commit(app, {"hold": "", "flathub.json": '{"only-arches": ["i386"]}'})
    flathub.push(app, commit)
    for _ in range(MAX_ATTEMPTS):
        wait_for("it is being built", lambda: flathub.held(app))
        flathub.kill("builder-1")
        for path in (flathub.folder / "held").glob(f"{app}.*"):
            path.unlink()
        flathub.start_worker("builder-1")
    states = flathub.final_states(commit, {"flathub/publish", "flathub/build-i386"})
    assert {each[-1] for each in states.values()} == {"failure"}
    assert flathub.description(commit, "flathub/build-i386") == f"given up: its worker was lost {MAX_ATTEMPTS} times"
    assert flathub.held(app) == []
    # The builds themselves outlived their worker.
    flathub.let_go(app)


def test_what_failed_while_the_token_was_refused_is_built_with_a_new_one(flathub):
    app = "org.example.Token"
    commit = flathub.github.commit(app, {"README": ""})
    flathub.github.token = "another token"
    try:
        flathub.push(app, commit)

        def has_failed():
            ended = flathub.get("buildsets?complete=true")["buildsets"]
            return commit in {each["sourcestamps"][0]["revision"] for each in ended}

        wait_for("it has failed", has_failed)
        assert flathub.github.states(commit) == {}
    finally:
        flathub.github.token = TOKEN
    flathub.github.pushed_at[app] = datetime.datetime.now(datetime.UTC)
    assert is_green(flathub, commit)


def database(flathub):
    """The master's database, while the master is down."""
    return sqlite3.connect(flathub.folder / "master/state.sqlite")


def drain_in_vain(flathub):
    """End the master as a delivery does when builds do not end in time."""

    def drains():
        return flathub.log("master").count("Initiating clean shutdown")

    before = drains()
    flathub.processes["master"].send_signal(signal.SIGUSR1)
    wait_for("it drains", lambda: drains() > before)
    flathub.shut_down("master")


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("Stopped", lambda flathub: flathub.shut_down("master")),
        ("Drained", drain_in_vain),
        ("Killed", lambda flathub: flathub.kill("master")),
    ],
    ids=["stopped", "drained", "killed"],
)
def test_what_is_built_or_published_when_the_master_ends_is_green_once(flathub, how, end):
    built, published = f"org.example.Built{how}", f"org.example.Published{how}"
    locked = flathub.folder / "locked"
    locked.touch()
    try:
        waiting = flathub.github.commit(published, {"README": ""})
        flathub.push(published, waiting)
        wait_for("the job waits", lambda: list((flathub.folder / "queue").iterdir()))
        [job] = (flathub.folder / "queue").iterdir()
        commit = flathub.github.commit(built, {"hold": ""})
        flathub.push(built, commit)
        wait_for("both architectures are being built", lambda: len(flathub.held(built)) == len(ARCHITECTURES))
        end(flathub)
        assert job.exists()
    finally:
        locked.unlink()
    flathub.let_go(built)
    flathub.start_master()
    assert is_green(flathub, commit)
    assert is_green(flathub, waiting)
    # What had been handed over was not built again.
    [path] = flathub.publishes_of(waiting)
    assert path.name.partition("-")[2] == job.name
    wait_for("nothing is under way", lambda: not flathub.get("buildrequests?complete=false")["buildrequests"])
    assert len(flathub.publishes_of(waiting)) == 1


def test_what_a_power_cut_kept_from_the_scheduler_or_from_github_is_found(flathub):
    untold = flathub.github.commit("org.example.Untold", {"README": ""})
    flathub.push("org.example.Untold", untold)
    assert is_green(flathub, untold)
    flathub.kill("master")
    # Its last status never left the master.
    last = [each for each in flathub.github.statuses if each["commit"] == untold and each["state"] == "success"][-1]
    assert last["context"] == "flathub/publish"
    flathub.github.statuses.remove(last)
    # A push that was recorded, and never scheduled.
    app = "org.example.Recorded"
    recorded = flathub.github.commit(app, {"README": ""})
    with database(flathub) as connection:
        project = f"{ORGANIZATION}/{app}"
        source = connection.execute(
            "INSERT INTO sourcestamps (ss_hash, branch, revision, repository, codebase, project, created_at)"
            " VALUES (?, 'main', ?, '', '', ?, 1)",
            (recorded, recorded, project),
        ).lastrowid
        connection.execute(
            "INSERT INTO changes (author, comments, branch, revision, when_timestamp, category, repository, codebase,"
            " project, sourcestampid) VALUES ('A. Hacker', '', 'main', ?, 1, 'push', '', '', ?, ?)",
            (recorded, project, source),
        )
    now = datetime.datetime.now(datetime.UTC)
    flathub.github.pushed_at.update({"org.example.Untold": now, app: now})
    flathub.start_master()
    assert is_green(flathub, recorded)
    assert is_green(flathub, untold)
    assert len([change for change in flathub.get("changes")["changes"] if change["revision"] == untold]) == 1


def test_a_master_that_is_killed_goes_on_with_each_commit_once(flathub):
    apps = ["org.example.Cut0", "org.example.Cut1"]
    commits = [flathub.github.commit(app, {"hold": ""}) for app in apps]
    for app, commit in zip(apps, commits, strict=True):
        flathub.push(app, commit)
    wait_for("builds of both", lambda: sum(len(flathub.held(app)) for app in apps) == 3)
    left = flathub.folder / "uploads/1"
    left.mkdir()
    (left / "x86_64.tar").write_bytes(b"left by a build that was cut off")
    flathub.kill("master")
    with database(flathub) as connection:
        old = connection.execute("UPDATE steps SET started_at = 1 WHERE results = 0 AND name = 'make room'").rowcount
        chunks = connection.execute("SELECT count(*) FROM logchunks").fetchone()[0]
    assert old > 0
    for path in (flathub.folder / "held").iterdir():
        path.unlink()

    flathub.start_master()
    wait_for("the master is back", flathub.connected)
    wait_for("builds of both, again", lambda: sum(len(flathub.held(app)) for app in apps) == 3)
    assert not left.exists()
    for app in apps:
        # One build an architecture, for the coordination that was begun anew; none for the one before.
        assert len({build.partition(".")[2] for build in flathub.held(app)}) == 1
        flathub.let_go(app)
    for commit in commits:
        assert is_green(flathub, commit)
    for app in apps:
        assert len(flathub.held(app)) == 2
        assert len({build.partition(".")[2] for build in flathub.held(app)}) == 1
    wait_for("nothing is under way", lambda: not flathub.get("buildrequests?complete=false")["buildrequests"])

    def old_logs_are_gone():
        with database(flathub) as connection:
            kept = connection.execute(
                "SELECT count(*) FROM logchunks JOIN logs ON logs.id = logchunks.logid"
                " JOIN steps ON steps.id = logs.stepid WHERE steps.started_at = 1"
            ).fetchone()[0]
        return kept == 0 and chunks > 0

    wait_for("logs of an old step are removed", old_logs_are_gone)
    jobs = [json.loads((path / "job.json").read_text()) for path in flathub.published]
    assert len({job["commit"] for job in jobs}) == len(jobs)
    assert {status["authorization"] for status in flathub.github.statuses if "authorization" in status} == {
        f"token {TOKEN}"
    }
