"""Commit statuses on GitHub: one per architecture and one for the publish, which stands for the whole."""

from __future__ import annotations

from typing import ClassVar

from buildbot.plugins import util
from buildbot.process.results import CANCELLED, RETRY, SKIPPED, SUCCESS, WARNINGS
from buildbot.reporters.generators.build import BuildStartEndStatusGenerator
from buildbot.reporters.generators.buildrequest import BuildRequestGenerator
from buildbot.reporters.github import GitHubStatusPush
from buildbot.reporters.message import MessageFormatterBase, MessageFormatterFunctionRaw
from twisted.internet import defer

from .builders import COORDINATION, build_names
from .github_api import GitHubApi, GitHubError
from .inventory import Inventory, Secrets
from .superseding import superseded_by

PUBLISH_CONTEXT = "flathub/publish"
ATTEMPTS = 30
"""For nineteen hours, in pauses of an hour at most; a last status that was lost all the same is found by reconcile.py."""

LONGEST_DESCRIPTION = 140
"""GitHub takes no more characters."""


class StatusPush(GitHubStatusPush):
    """Sends statuses and tries again while GitHub can't be reached: a lost last status would stay pending.

    Success is green, a failed build `failure`; what was cancelled, superseded or broke on our side is `error`. A build
    that Buildbot runs again, because its worker or the master was lost, is pending until it ends.
    """

    name = "statuses"

    @defer.inlineCallbacks
    def reconfigService(self, token, baseURL=None, **kwargs):
        """Take over a new token or address."""
        yield super().reconfigService(token, baseURL=baseURL, **kwargs)
        self.github = GitHubApi(baseURL, token)

    @defer.inlineCallbacks
    def sendMessage(self, reports):
        """Buildbot would make what was skipped green."""
        for report in reports:
            report["builds"] = [
                {**build, "results": CANCELLED} if build["results"] == SKIPPED else build for build in report["builds"]
            ]
        yield super().sendMessage(reports)

    @defer.inlineCallbacks
    def createStatus(self, repo_user, repo_name, sha, state, props, **kwargs):
        """Send one status; Buildbot logs what is raised."""
        fields = {name: kwargs.get(name) for name in ("target_url", "context", "description")}
        body = {"state": state, **{name: value for name, value in fields.items() if value is not None}}
        path = f"/repos/{repo_user}/{repo_name}/statuses/{sha}"
        answer = yield self.github.request("POST", path, body=body, attempts=ATTEMPTS)
        if answer.status != 201:
            raise GitHubError(f"GitHub: POST {path}: HTTP {answer.status}: {answer.body[:200]!r}")


@util.renderer
def context(props):
    """Name of a status: flathub/build-ARCH, or flathub/publish for the coordination."""
    architecture = props.getProperty("architecture")
    return f"flathub/build-{architecture}" if architecture else PUBLISH_CONTEXT


def describe(master, ctx):
    """One line for the commit page: what a step said of the problem, or the failed steps by name."""
    build = ctx["build"]
    if not build["complete"]:
        return {"body": "Started"}
    if build["results"] in (SUCCESS, WARNINGS):
        return {"body": "Done"}
    if build["results"] == CANCELLED:
        return {"body": "Stopped"}
    if build["results"] == RETRY:
        return {"body": "Interrupted; it will be run again"}
    problem, _source = build.get("properties", {}).get("problem", (None, None))
    failed = [
        step["name"]
        for step in build.get("steps") or []
        if step["results"] not in (None, SUCCESS, WARNINGS, util.SKIPPED)
    ]
    return {"body": (problem or (f"Failed: {', '.join(failed)}" if failed else "Failed"))[:LONGEST_DESCRIPTION]}


class DescribeRequest(MessageFormatterBase):
    """One line for a request that waits or that never became a build."""

    def format_message_for_build(self, master, build, **_kwargs):
        """The line; Buildbot's own formatters want a build."""
        if not build["complete"]:
            body = "Waiting"
        elif build["results"] == SKIPPED:
            newer = superseded_by.pop(build["buildrequest"]["buildrequestid"], "a newer commit")
            body = f"superseded by {newer}"
        else:
            body = "Cancelled"
        return {"body": body, "type": "plain", "subject": None, "extra_info": None}


class WaitingAndSuperseded(BuildRequestGenerator):
    """Reports on requests that are not builds yet, and on those that will never be one."""

    wanted_event_keys: ClassVar = [*BuildRequestGenerator.wanted_event_keys, ("buildrequests", None, "complete")]

    def __init__(self, builders):
        super().__init__(builders=builders, formatter=DescribeRequest())

    @defer.inlineCallbacks
    def partial_build_dict(self, master, buildrequest):
        """What is known of a request, with its end if it was superseded."""
        build = yield super().partial_build_dict(master, buildrequest)
        if buildrequest["complete"] and buildrequest["results"] == SKIPPED:
            build.update(complete=True, results=SKIPPED)
        return build

    @defer.inlineCallbacks
    def generate(self, master, reporter, key, buildrequest):
        """The report on an event; the end of a build is reported by another generator."""
        if key[-1] == "complete" and buildrequest["results"] != SKIPPED:
            return None
        return (yield super().generate(master, reporter, key, buildrequest))


def make_reporters(inventory: Inventory, secrets: Secrets) -> list[object]:
    """The reporter of all statuses."""
    builds = [name for architecture in inventory.architectures for name in build_names(inventory, architecture)]
    reported = [COORDINATION, *builds]
    return [
        StatusPush(
            token=secrets.github_token,
            context=context,
            baseURL=inventory.github.api_url,
            generators=[
                WaitingAndSuperseded(reported),
                BuildStartEndStatusGenerator(
                    builders=reported,
                    start_formatter=MessageFormatterFunctionRaw(describe),
                    end_formatter=MessageFormatterFunctionRaw(describe, want_steps=True),
                ),
            ],
        )
    ]
