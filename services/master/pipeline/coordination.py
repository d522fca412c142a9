"""Steps of the coordination of one commit; they run on the master."""

from __future__ import annotations

import shutil

from buildbot.plugins import steps, util
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SKIPPED, SUCCESS, WARNINGS
from twisted.internet import defer, threads

from .flathub_json import FlathubJsonError, choose_architectures, read_flathub_json
from .github_api import GitHubApi, GitHubError
from .github_step import GitHubStep
from .history import publishes_of
from .inventory import APP_ID, COMMIT
from .uploads import build_folder, checksums, total_bytes

SUBJECT_LENGTH = 200


class Identify(BuildStep):
    """Names what is built, as properties: app, commit, subject, build_id.

    Refuses what is no app: everything later uses these properties in commands and paths.
    """

    name = "identify"
    haltOnFailure = True

    def __init__(self, organization: str, **kwargs) -> None:
        self.organization = organization
        super().__init__(**kwargs)

    @defer.inlineCallbacks
    def run(self):
        """Set the properties or fail."""
        project = self.getProperty("project") or ""
        commit = self.getProperty("revision") or ""
        organization, _, app = project.partition("/")
        if organization != self.organization or not APP_ID.fullmatch(app):
            yield self.addCompleteLog("error", f"{project!r} is not {self.organization}/<application id>\n")
            return FAILURE
        if not COMMIT.fullmatch(commit):
            yield self.addCompleteLog("error", f"{commit!r} is not the full name of a commit\n")
            return FAILURE
        changes = list(self.build.allChanges())
        subject = (changes[-1].comments if changes else "").strip().partition("\n")[0]
        for name, value in {
            "app": app,
            "commit": commit,
            "subject": "".join(char for char in subject if char.isprintable())[:SUBJECT_LENGTH] or commit,
            "build_id": str(self.build.buildid),
        }.items():
            self.setProperty(name, value, self.name)
        self.descriptionDone = f"{app} {commit[:10]}"
        return SUCCESS


class ChooseArchitectures(GitHubStep):
    """Sets the property ``architectures``: all that are offered, or those that the commit's flathub.json leaves."""

    name = "flathub.json"

    def __init__(self, architectures: tuple[str, ...], github: GitHubApi, **kwargs) -> None:
        self.architectures = architectures
        self.github = github
        super().__init__(**kwargs)

    @defer.inlineCallbacks
    def run(self):
        """Read the file or fail; a GitHub that does not answer is no reason to build what the app has excluded."""
        try:
            content = yield self.ask(
                read_flathub_json(self.github, self.getProperty("project"), self.getProperty("commit"))
            )
            chosen = choose_architectures(content, self.architectures)
        except (FlathubJsonError, GitHubError) as error:
            return (yield self.failed(str(error)))
        self.setProperty("architectures", list(chosen), self.name)
        self.descriptionDone = ", ".join(chosen)
        return SUCCESS


COPIED = {name: util.Property(name) for name in ("app", "commit", "subject", "build_id", "architectures")}


class TriggerAll(steps.Trigger):
    """Triggers builds, waits, and succeeds only if each of them did.

    Buildbot counts a skipped build as better than a successful one; here whatever is not a success is a failure.
    """

    haltOnFailure = True
    flunkOnFailure = True

    def __init__(self, **kwargs) -> None:
        super().__init__(waitForFinish=True, updateSourceStamp=False, set_properties=COPIED, **kwargs)

    @defer.inlineCallbacks
    def worstStatus(self, overall_results, rclist, unimportant_brids):
        """The worst of all results, none of them left out."""
        results = yield super().worstStatus(overall_results, rclist, unimportant_brids)
        if results in (CANCELLED, RETRY, EXCEPTION):
            return results
        each = [result for succeeded, result in rclist if succeeded]
        complete = len(each) == len(self.brids) and all(
            (result[0] if isinstance(result, tuple) else result) in (SUCCESS, WARNINGS) for result in each
        )
        return SUCCESS if complete else FAILURE

    @defer.inlineCallbacks
    def run(self):
        """Trigger and wait. What is interrupted with the master is run again; Buildbot would take it for cancelled."""
        results = yield super().run()
        return RETRY if results == CANCELLED and self.build.results == RETRY else results


def is_unpublished(step) -> bool:
    """Whether there is anything to do after `AwaitEarlierPublish`."""
    return not step.getProperty("published")


class AwaitEarlierPublish(TriggerAll):
    """Waits for what an earlier attempt of this build handed over to the publisher before the master was lost.

    Sets the property ``published`` if that came to a good end; otherwise the commit is built once more.
    """

    name = "earlier publish"
    haltOnFailure = False
    flunkOnFailure = False

    def __init__(self, builder: str, **kwargs) -> None:
        self.builder = builder
        super().__init__(schedulerNames=[builder], hideStepIf=lambda results, _step: results == SKIPPED, **kwargs)

    def getSchedulersAndProperties(self):
        """The builder that publishes; it only waits."""
        asked = {**self.set_properties, "build_id": str(self.earlier), "handed_over": True}
        return [{"sched_name": self.builder, "props_to_set": asked, "unimportant": False}]

    @defer.inlineCallbacks
    def run(self):
        """Wait for the last one, if there is one."""
        [request] = self.build.requests
        publishes = yield publishes_of(self.master, request.id, self.builder)
        if not publishes:
            return SKIPPED
        self.earlier, results = max(publishes.items())
        if results != SUCCESS:
            results = yield super().run()
        if results == SUCCESS:
            self.setProperty("published", True, self.name)
        return results


class BuildArchitectures(TriggerAll):
    """One build for each architecture; all must succeed and have left their upload."""

    name = "build"

    def __init__(self, builders: dict[str, str], **kwargs) -> None:
        self.builders = builders
        super().__init__(schedulerNames=list(builders.values()), **kwargs)

    def getSchedulersAndProperties(self):
        """The builder of each architecture that this build asks for."""
        return [
            {
                "sched_name": self.builders[architecture],
                "props_to_set": {**self.set_properties, "architecture": architecture},
                "unimportant": False,
            }
            for architecture in self.getProperty("architectures")
        ]


class Publish(TriggerAll):
    """Has the publisher take over what was uploaded."""

    name = "publish"

    def __init__(self, builder: str, **kwargs) -> None:
        self.builder = builder
        super().__init__(schedulerNames=[builder], **kwargs)

    def getSchedulersAndProperties(self):
        """The builder that publishes, with what it must know of the uploads."""
        upload = self.getProperty("build_id"), self.getProperty("architectures")
        known = {"sha256": checksums(*upload), "bytes": total_bytes(*upload)}
        return [{"sched_name": self.builder, "props_to_set": {**self.set_properties, **known}, "unimportant": False}]


class RemoveUploads(BuildStep):
    """Frees the space on the master, whatever became of the build."""

    name = "remove uploads"
    alwaysRun = True
    flunkOnFailure = False
    warnOnFailure = True

    @defer.inlineCallbacks
    def run(self):
        """Remove the folder of this build, if there is one."""
        build_id = self.getProperty("build_id")
        if build_id is not None:
            yield threads.deferToThread(shutil.rmtree, build_folder(build_id), ignore_errors=True)
        return SUCCESS
