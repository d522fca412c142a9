"""A round of the reconciliation; what it finds on a running master is in interruptions_test.py."""

from datetime import UTC, datetime
from types import SimpleNamespace

from twisted.internet import defer

from pipeline import reconcile
from pipeline.reconcile import Reconcile
from pipeline.superseding_test import GitHub, branch, fired

APPS = ["org.example.First", "org.example.Second"]


def test_an_app_that_fails_stands_in_no_others_way(monkeypatch):
    now = datetime.now(UTC).strftime("%FT%TZ")
    answers = {
        "/orgs/flathub/repos?sort=pushed&direction=desc&per_page=100": [
            {"name": app, "default_branch": "main", "pushed_at": now} for app in APPS
        ]
    }
    for app in APPS:
        head = branch("a" * 40)
        head["commit"] |= {"html_url": "http://x.test", "commit": {"message": "", "author": {"name": ""}}}
        answers[f"/repos/flathub/{app}/branches/main"] = head
        answers[f"/repos/flathub/{app}/commits/{'a' * 40}/status?per_page=100"] = {"statuses": []}
    monkeypatch.setattr(reconcile, "GitHubApi", lambda *_arguments: GitHub(answers))
    monkeypatch.setattr(reconcile, "coordinations_of", lambda *_arguments: defer.succeed([]))
    monkeypatch.setattr(reconcile, "is_under_way", lambda *_arguments: defer.succeed(False))
    monkeypatch.setattr(reconcile, "recorded_at", lambda *_arguments: defer.succeed(0))
    logged = []
    monkeypatch.setattr(reconcile.log, "err", lambda error, why: logged.append((str(error), why)))
    added = []

    def add_change(project, **_fields):
        added.append(project)
        return defer.fail(OSError("the database")) if len(added) == 1 else defer.succeed(1)

    service = Reconcile(api_url="", token="", organization="flathub")
    service.reconfigService(api_url="", token="", organization="flathub")
    updates = SimpleNamespace(addChange=add_change)
    monkeypatch.setattr(Reconcile, "master", SimpleNamespace(data=SimpleNamespace(updates=updates)))
    service.running = True
    fired(service.play_round())
    assert added == [f"flathub/{app}" for app in APPS]
    assert logged == [("the database", f"reconcile: flathub/{APPS[0]}: the next round tries again")]
