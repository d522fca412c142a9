#!/usr/bin/python3 -B
"""Publishes the jobs in the spool, one at a time and in order, until none is left.

It may be killed anywhere: the next run does the job at work once more, and what was published already stays as it is.
A job that can't be published gets its error as its result and stops no other. While the signing key is locked jobs
wait in the spool.
"""

import fcntl
import json
import sys
import time
import traceback
from pathlib import Path

from publishing import job as jobs
from publishing import refs, signing
from publishing.command import CommandFailed, run
from publishing.repository import Repository
from publishing.settings import Settings
from publishing.spool import Spool, write_json


def unpack(settings: Settings, job: jobs.Job) -> None:
    """Have the job's tars unpacked by the user made for that. Raises InvalidJob with what it refused."""
    write_json(settings.unpack_request, {"id": job.id, "architectures": list(job.architectures)})
    try:
        run(settings.unpack_command, settings.command_timeout_seconds)
    except CommandFailed as error:
        raise jobs.InvalidJob(f"unpacking ended early, see the journal of unpack.service: {error}") from None
    answer = json.loads(settings.unpack_answer.read_text())
    if answer["id"] != job.id:
        raise jobs.InvalidJob(f"the unpacker answered for {answer['id']!r:.100}")
    if answer["error"]:
        raise jobs.InvalidJob(str(answer["error"]))


def publish(settings: Settings, repository: Repository, work: Path, job: jobs.Job) -> dict[str, str]:
    """Publish one job; returns its refs with their commits. Nothing is published if anything is wrong with it."""
    unpack(settings, job)
    source = repository.scratch(work / "import")
    published = []
    for architecture in job.architectures:
        unpacked = settings.unpacked / architecture
        names = refs.check(job, architecture, set(refs.read(unpacked)))
        repository.import_untrusted(unpacked, source, names)
        for name in names:
            refs.check_metadata(source, name)
        published += names
    stage = repository.scratch(work / "stage")
    repository.commit(source, stage, published, job.subject or job.app, f"Build {job.id} of {job.commit}")
    repository.verify(stage, published, work / "check")
    repository.publish(stage, published)
    repository.update()
    return repository.commits(published)


def attempt(settings: Settings, spool: Spool, repository: Repository, name: str) -> None:
    """Publish the job called `name` and write its result. Raises Locked, leaving the job as it is, if the key was
    locked meanwhile."""
    if spool.is_finished(name):
        spool.remove(name)
        return
    begin = time.monotonic()
    result: dict[str, object] = {"id": name, "status": "published", "error": None, "refs": {}}
    try:
        work = spool.take(name)
        result["refs"] = publish(settings, repository, work, jobs.load(work / "job", name))
    # Whatever it is: a job that could not even be read must not stop the ones behind it for good.
    except Exception as error:  # noqa: BLE001
        signing.require_signing(settings)
        known = isinstance(error, jobs.InvalidJob | CommandFailed)
        result |= {"status": "failed", "error": str(error) if known else f"{type(error).__name__}: {error}"}
        if not known:
            traceback.print_exc()
    result["seconds"] = round(time.monotonic() - begin, 1)
    print(f"{name}: {result['status']} after {result['seconds']} s {result['error'] or ''}".rstrip(), flush=True)
    spool.finish(name, result)


def clean(settings: Settings) -> None:
    """Have the unpacker remove what it unpacked: without a request it does nothing else."""
    settings.unpack_request.unlink(missing_ok=True)
    run(settings.unpack_command, settings.command_timeout_seconds)


def publish_all(settings: Settings) -> None:
    """Publish every job of the spool; returns when it is empty or the key is locked."""
    spool = Spool(settings)
    worked = False
    try:
        while True:
            signing.require_signing(settings)
            repository = Repository(settings, signing.fingerprint(settings))
            if not repository.has_summary():
                # A repository without a signed summary is one that no client can add.
                repository.update()
            waiting = spool.waiting()
            if not waiting:
                break
            worked = True
            spool.write_status("unlocked", waiting[0], f"publishing {waiting[0]}")
            attempt(settings, spool, repository, waiting[0])
        if worked:
            clean(settings)
        spool.write_status("unlocked", None, "nothing to publish")
    except signing.Locked as reason:
        message = f"the signing key is locked, publishing waits for unlock-signing: {reason}"
        print(message, flush=True)
        spool.write_status("locked", None, message)


def main(settings: Settings) -> int:
    with (settings.work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another publisher is running: it holds {lock.name}", file=sys.stderr)
            return 1
        publish_all(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(Settings()))
