"""The jobs that are published together.

Until a batch is decided nothing in the repository has changed, and a run that is killed begins again with the jobs in
the work directory. What is decided stands in batch.json, with the signed commits in the stage beside it: from then on
a run that is killed is finished by the next one, whatever became of the builders' tars; or, if it can't be finished,
taken back.
"""

import json
import shutil
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from . import deltas, job, refs, signing
from .builds import Build, Builds
from .command import CommandFailed, run
from .deltas import Delta
from .job import InvalidJob, Job
from .listing import Listing
from .repository import Repository
from .served import Served
from .settings import Settings
from .signature import Unverifiable
from .spool import Spool, write_json
from .step import step

# Architectures of a job that are copied and checked at once.
_IMPORTS = 2
# How often the unpacker is started before its silence, or its answer to something else, is a job's failure.
_UNPACK_ATTEMPTS = 3
# How often a decided batch is begun with its deltas: making one may be what ends the process each time.
_ATTEMPTS_WITH_DELTAS = 3


@dataclass(frozen=True)
class Admitted:
    """A job whose refs are in a repository of its own, `source`, checked."""

    job: Job
    source: Path
    refs: list[str]
    made: int


@dataclass(frozen=True)
class Publication:
    """What a decided batch publishes of one job: `made` as in builds.Build, `refs` with their commits."""

    id: str
    app: str
    made: int
    refs: dict[str, str]


@dataclass(frozen=True)
class Decision:
    """batch.json: what is published, which refs change from what, which jobs a newer one of the batch makes needless.

    `undo` is the reason why all of it is taken back, if it is; `attempts` counts the runs that tried to finish it before.
    """

    publications: list[Publication]
    moves: dict[str, tuple[str | None, str]]
    superseded: dict[str, str]
    undo: str | None = None
    attempts: int = 0

    @classmethod
    def load(cls, path: Path) -> "Decision | None":
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        return cls(
            publications=[Publication(**entry) for entry in data["publications"]],
            moves={ref: (old, new) for ref, (old, new) in data["moves"].items()},
            superseded=data["superseded"],
            undo=data["undo"],
            attempts=data.get("attempts", 0),
        )

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def jobs(self) -> list[str]:
        return [publication.id for publication in self.publications] + sorted(self.superseded)


class Batch:
    """From jobs in the spool to results."""

    def __init__(
        self, settings: Settings, spool: Spool, repository: Repository, served: Served, listing: Listing
    ) -> None:
        self._settings, self._spool, self._repository = settings, spool, repository
        self._served, self._listing = served, listing
        self._builds = Builds(settings)
        self._stage = settings.work / "stage"
        self._decision = settings.work / "batch.json"

    def resume(self) -> Decision | None:
        """The batch that a run which was killed had decided, with that run counted."""
        found = Decision.load(self._decision)
        if found:
            found = replace(found, attempts=found.attempts + 1)
            found.write(self._decision)
        return found

    def take(self) -> list[str]:
        """Take the jobs that are to be published together; those that are finished already are removed."""
        with step("take"):
            for name in self._spool.begun():
                if self._spool.is_finished(name):
                    self._spool.remove(name)
            names = []
            for name in self._spool.waiting()[: self._settings.batch_jobs]:
                with self._own_failure(name):
                    self._spool.take(name)
                    names.append(name)
        return names

    def publish(self, names: Iterable[str]) -> None:
        """Publish jobs that are taken. Each that can't be gets its result and stops no other.

        Raises signing.Locked, leaving all jobs that have no result, if the key was locked meanwhile.
        """
        admitted, superseded = self._admit(names)
        if admitted:
            decision = self._decide(admitted, superseded)
            if decision:
                self.finish(decision)

    def _admit(self, names: Iterable[str]) -> tuple[list[Admitted], dict[str, str]]:
        """The newest good job of each application, and which jobs it makes needless."""
        jobs: dict[str, list[Job]] = {}
        for name in names:
            with self._own_failure(name):
                found = job.load(self._settings.work / name / "job", name)
                jobs.setdefault(found.app, []).append(found)
        admitted, superseded = [], {}
        for builds in jobs.values():
            newest = None
            for build in sorted(builds, key=lambda build: build.number, reverse=True):
                if newest:
                    superseded[build.id] = newest.job.id
                    continue
                with self._own_failure(build.id):
                    newest = self._check(build)
                    admitted.append(newest)
        return admitted, superseded

    def _own_failure(self, name: str) -> "_OwnFailure":
        return _OwnFailure(self._settings, self._spool, name)

    def _check(self, build: Job) -> Admitted:
        with step("unpack"):
            job.check_sums(self._settings.work / build.id / "job", build)
            self._unpack(build)
        with step("import"):
            self._require_room(build)
            source = self._repository.scratch(self._settings.work / build.id / "import")
            with ThreadPoolExecutor(max_workers=_IMPORTS) as pool:
                imported = list(
                    pool.map(lambda architecture: self._import(build, architecture, source), build.architectures)
                )
            made = max(made for _, made in imported)
            self._builds.require_newer(build, made)
        return Admitted(build, source, [name for names, _ in imported for name in names], made)

    def _import(self, build: Job, architecture: str, target: Path) -> tuple[list[str], int]:
        """Copy one architecture's refs into `target`, checked; returns them, and when the newest of them was made."""
        unpacked = self._settings.unpacked / architecture
        found = refs.read(unpacked)
        names = refs.check(build, architecture, set(found))
        self._repository.import_untrusted(unpacked, target, names)
        return names, max(refs.check_commit(target, name, found[name]).made for name in names)

    def _unpack(self, build: Job) -> None:
        """Have the job's tars unpacked by the user made for that. Raises InvalidJob with what it refused."""
        settings = self._settings
        write_json(settings.unpack_request, {"id": build.id, "architectures": list(build.architectures)})
        reason = ""
        for _ in range(_UNPACK_ATTEMPTS):
            try:
                run(settings.unpack_command, settings.command_timeout_seconds)
                answer = json.loads(settings.unpack_answer.read_text())
            except (CommandFailed, OSError, ValueError) as error:
                reason = f"unpacking ended early, see the journal of unpack.service: {error}"
                continue
            if answer["id"] == build.id:
                if answer["error"]:
                    raise InvalidJob(str(answer["error"]))
                return
            # It was still running, for a publisher that was killed, and was not started anew.
            reason = f"the unpacker answered for {answer['id']!r:.100}"
        raise InvalidJob(reason)

    def _require_room(self, build: Job) -> None:
        """What was unpacked is copied, and deltas take up to twice as much again."""
        tars = sum((self._settings.work / build.id / "job" / f"{a}.tar").stat().st_size for a in build.architectures)
        needed, free = 3 * tars + self._settings.min_free_bytes, shutil.disk_usage(self._settings.work).free
        if free < needed:
            raise InvalidJob(f"no room to publish it: {needed} bytes needed, {free} free on {self._settings.work}")

    def _decide(self, admitted: list[Admitted], superseded: dict[str, str]) -> Decision | None:
        """Make the signed commits, check them, and write down what is to be published; None if no job is left."""
        stage = self._repository.stage(self._stage)
        with step("commit"):
            done = [entry for entry in admitted if self._commit(entry, stage)]
        with step("verify"):
            made = refs.read(stage)
            done = [entry for entry in done if self._verify(entry, stage, made)]
        with step("decide"):
            made = refs.read(stage)
            before = self._repository.commits(list(made))
            publications = [
                Publication(
                    entry.job.id, entry.job.app, entry.made,
                    {**self._repository.commits(entry.refs), **{ref: made[ref] for ref in entry.refs if ref in made}},
                )
                for entry in done
            ]  # fmt: skip
            decided = {publication.id for publication in publications}
            decision = Decision(
                publications,
                {ref: (before.get(ref), made[ref]) for entry in done for ref in entry.refs if ref in made},
                {old: new for old, new in superseded.items() if new in decided},
            )
            for old, new in superseded.items():
                if new not in decided:
                    self._spool.finish(old, {}, f"superseded by build {new}, which could not be published")
                    self._spool.remove(old)
            if not publications:
                return None
            self._repository.sync()
            decision.write(self._decision)
        return decision

    def _commit(self, entry: Admitted, stage: Path) -> bool:
        with self._own_failure(entry.job.id) as attempt:
            self._repository.commit(
                entry.source, stage, entry.refs, entry.job.subject or entry.job.app,
                f"Build {entry.job.id} of {entry.job.commit}",
            )  # fmt: skip
        if attempt.failed:
            self._forget(entry, stage)
        return not attempt.failed

    def _forget(self, entry: Admitted, stage: Path) -> None:
        for ref in entry.refs:
            (stage / "refs/heads" / ref).unlink(missing_ok=True)

    def _verify(self, entry: Admitted, stage: Path, made: dict[str, str]) -> bool:
        """Whether a client would take the job's signed commits."""
        with self._own_failure(entry.job.id) as attempt:
            for ref in entry.refs:
                if ref in made:
                    self._repository.verify(stage, made[ref])
        if attempt.failed:
            self._forget(entry, stage)
        return not attempt.failed

    def finish(self, decision: Decision) -> None:
        """Carry out what is decided; repeatable. If it can't be done it is taken back, and the jobs get the reason.

        What clients have is never taken back: the error is raised, and the next run does what is left.
        """
        if not decision.undo:
            try:
                self._carry_out(decision)
            # Whatever it is: half of a batch must not stay, and those that wait must not wait for ever.
            except Exception as error:
                if self._is_served(decision):
                    raise
                signing.require_signing(self._settings)
                traceback.print_exc()
                decision = replace(decision, undo=str(error) or type(error).__name__)
                decision.write(self._decision)
        if decision.undo:
            with step("undo"):
                before = {ref: old for ref, (old, _) in decision.moves.items()}
                self._repository.set_refs(before)
                if decision.moves and self._is_served(decision):
                    # Served as what was found in the repository, when there were no served directories.
                    self._served.publish(before)
        with step("results"):
            self._write_results(decision)
        with step("clean"):
            self._decision.unlink()
            for name in decision.jobs():
                self._spool.remove(name)

    def _carry_out(self, decision: Decision) -> None:
        moves = {ref: new for ref, (_, new) in decision.moves.items()}
        if moves:
            if not self._is_served(decision):
                with step("move"):
                    self._repository.move(self._stage, sorted(moves))
                self._served.publish(moves, self._wanted(decision))
            self._listing.add(len(decision.publications))
        with step("record"):
            for publication in decision.publications:
                self._builds.record(publication.app, Build(int(publication.id), publication.made))

    def _is_served(self, decision: Decision) -> bool:
        """Whether clients have what the batch publishes: all of it or nothing."""
        served = self._served.refs()
        return all(served.get(ref) == new for ref, (_, new) in decision.moves.items())

    def _wanted(self, decision: Decision) -> list[Delta]:
        if decision.attempts < _ATTEMPTS_WITH_DELTAS:
            return deltas.wanted(decision.moves)
        print(f"without static deltas: killed {decision.attempts} times on the way", flush=True)
        return []

    def _write_results(self, decision: Decision) -> None:
        for publication in decision.publications:
            if decision.undo:
                self._spool.finish(publication.id, {}, decision.undo)
            else:
                self._spool.finish(publication.id, publication.refs, None)
        for old, new in decision.superseded.items():
            self._spool.finish(old, {}, decision.undo or f"superseded by build {new}")

    def clean(self) -> None:
        """Remove what earlier batches left and no decided one needs: the stage, what was unpacked and imported."""
        settings = self._settings
        if not self._decision.exists():
            shutil.rmtree(self._stage, ignore_errors=True)
        for imported in settings.work.glob("*/import"):
            shutil.rmtree(imported, ignore_errors=True)
        settings.unpack_request.unlink(missing_ok=True)
        try:
            for _ in range(_UNPACK_ATTEMPTS):
                if any(settings.unpacked.iterdir()):
                    # Without a request it does nothing but remove; one that was still running for a publisher that was
                    # killed has removed nothing.
                    run(settings.unpack_command, settings.command_timeout_seconds)
        except CommandFailed as error:
            print(f"{settings.unpacked} is not empty: {error}", flush=True)


class _OwnFailure:
    """The body may fail for one job, which then gets its result; a key that is locked is no failure of the job."""

    def __init__(self, settings: Settings, spool: Spool, name: str) -> None:
        self._settings, self._spool, self._name = settings, spool, name
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        signing.require_signing(self._settings)
        known = isinstance(error, InvalidJob | CommandFailed | Unverifiable)
        if not known:
            traceback.print_exception(error)
        self._spool.finish(self._name, {}, str(error) if known else f"{type(error).__name__}: {error}")
        self._spool.remove(self._name)
        self.failed = True
        return True
