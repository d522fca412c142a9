"""Lists of applications, made of a part of the refs each."""

import subprocess

import pytest

from client_test import APP
from publishing import job, views
from publishing.views import TOGETHER, View

OTHER = "org.flathub.Other"
REFS = {f"app/{APP}/x86_64/stable": "a" * 64, f"app/{OTHER}/arm/stable": "b" * 64, "appstream2/x86_64": "c" * 64}


def shown(view):
    heads = view.path / "refs/heads"
    return {str(path.relative_to(heads)): path.read_text().strip() for path in heads.rglob("*") if path.is_file()}


def test_every_architecture_is_in_one_view():
    assert sorted(architecture for group in TOGETHER for architecture in group) == sorted(job.ARCHITECTURES)


def test_a_view_shows_its_own_refs_and_follows_them(machine):
    view = View(machine.settings, TOGETHER[0])
    assert view.update(REFS)
    assert shown(view) == {ref: commit for ref, commit in REFS.items() if "x86_64" in ref}
    moved = {f"app/{OTHER}/i386/stable": "d" * 64, "appstream2/x86_64": "e" * 64}
    assert view.update(moved)
    assert shown(view) == moved
    assert not View(machine.settings, TOGETHER[1]).update(moved)


def test_one_that_was_killed_while_it_changed_is_made_anew(machine, monkeypatch):
    view = View(machine.settings, TOGETHER[0])
    view.update(REFS)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(views, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        view.update({f"app/{OTHER}/i386/stable": "d" * 64})
    monkeypatch.undo()
    view.update(REFS)
    assert shown(view) == {ref: commit for ref, commit in REFS.items() if "x86_64" in ref}


def test_views_make_the_lists_that_the_whole_repository_gives(machine):
    for number, app in enumerate((APP, OTHER), 1):
        machine.queue(str(number), app, {a: machine.build(app, a) for a in ("x86_64", "i386", "aarch64", "arm")})
    machine.queue("3", "org.flathub.Small", {"arm": machine.build("org.flathub.Small", "arm")})
    assert machine.publish() == 0
    branches = [f"{kind}/{a}" for kind in views.LISTS for a in job.ARCHITECTURES]
    made = {ref: machine.head(ref) for ref in branches}
    argv = ["flatpak", "build-update-repo", "--no-update-summary", machine.settings.repository]
    subprocess.run(argv, check=True, capture_output=True)
    assert {ref: machine.head(ref) for ref in branches} == made, "flatpak finds nothing to change"
