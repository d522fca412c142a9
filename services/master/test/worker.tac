# -*- python -*-
"""A worker for tests: host and port of the master, the worker's name and its password come from the environment."""

import os

from buildbot_worker.bot import Worker
from twisted.application import service

application = service.Application("buildbot-worker")
Worker(
    "127.0.0.1",
    int(os.environ["MASTER_PORT"]),
    os.environ["WORKER_NAME"],
    os.environ["WORKER_PASSWORD"],
    os.getcwd(),
    60,
    umask=0o022,
    maxdelay=1,
    delete_leftover_dirs=True,
).setServiceParent(application)
