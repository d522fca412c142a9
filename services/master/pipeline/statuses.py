"""Commit statuses on GitHub: one per architecture and one for the publish, which stands for the whole."""

from __future__ import annotations

from buildbot.plugins import util
from buildbot.process.results import SUCCESS, WARNINGS
from buildbot.reporters.generators.build import BuildStartEndStatusGenerator
from buildbot.reporters.github import GitHubStatusPush
from buildbot.reporters.message import MessageFormatterFunctionRaw
from buildbot.util import asyncSleep
from twisted.internet import defer
from twisted.python import log

from .builders import COORDINATION, build_names
from .inventory import Inventory, Secrets

ATTEMPTS = 6
FIRST_WAIT_SECONDS = 2.0


class StatusPush(GitHubStatusPush):
    """Sends statuses and tries again while GitHub can't be reached: a lost last status would stay pending."""

    name = "statuses"

    @defer.inlineCallbacks
    def createStatus(self, repo_user, repo_name, sha, state, props, **kwargs):
        """Send one status; the last failure is left to Buildbot to log."""
        wait = FIRST_WAIT_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = yield super().createStatus(repo_user, repo_name, sha, state, props, **kwargs)
                if response.code < 500 and response.code != 429:
                    return response
                problem = f"HTTP {response.code}"
            except Exception as error:
                if attempt == ATTEMPTS:
                    raise
                problem = str(error)
            if attempt < ATTEMPTS:
                log.msg(f"status of {repo_user}/{repo_name} {sha}: {problem}; next attempt in {wait} seconds")
                yield asyncSleep(wait)
                wait *= 2
        return response


@util.renderer
def context(props):
    """Name of a status: flathub/build-ARCH, or flathub/publish for the coordination."""
    architecture = props.getProperty("architecture")
    return f"flathub/build-{architecture}" if architecture else "flathub/publish"


def describe(master, ctx):
    """One line for the commit page; failed steps by name."""
    build = ctx["build"]
    if not build["complete"]:
        return {"body": "Started"}
    if build["results"] in (SUCCESS, WARNINGS):
        return {"body": "Done"}
    failed = [
        step["name"]
        for step in build.get("steps") or []
        if step["results"] not in (None, SUCCESS, WARNINGS, util.SKIPPED)
    ]
    return {"body": f"Failed: {', '.join(failed)}"[:140] if failed else "Failed"}


def make_reporters(inventory: Inventory, secrets: Secrets) -> list[object]:
    """The reporter of all statuses."""
    builds = [name for architecture in inventory.architectures for name in build_names(inventory, architecture)]
    generator = BuildStartEndStatusGenerator(
        builders=[COORDINATION, *builds],
        start_formatter=MessageFormatterFunctionRaw(describe),
        end_formatter=MessageFormatterFunctionRaw(describe, want_steps=True),
    )
    return [
        StatusPush(
            token=secrets.github_token, context=context, baseURL=inventory.github.api_url, generators=[generator]
        )
    ]
