# -*- python -*-
"""A Buildbot worker as a Twisted application; started in its base folder by buildbot-worker.service."""

import json
import os
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.application import service

inventory = json.loads(Path(os.environ["FLATHUB_INVENTORY"]).read_text())
password = Path(os.environ["CREDENTIALS_DIRECTORY"], "worker-password").read_text().strip()

application = service.Application("buildbot-worker")
Worker(
    inventory["master"],
    int(os.environ.get("FLATHUB_PB_PORT", "9989")),
    inventory["name"],
    password,
    os.getcwd(),
    60,  # seconds between keepalives: a lost master is noticed within minutes
    umask=0o022,
    maxdelay=15,  # seconds between attempts to connect, at most
    allow_shutdown="signal",  # SIGHUP: finish the builds under way, then end
    delete_leftover_dirs=True,
).setServiceParent(application)
