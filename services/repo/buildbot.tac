"""The Buildbot worker of the repository machine: twistd runs this file."""

import os
import sys
from pathlib import Path

from buildbot_worker.bot import Worker
from twisted.application import service

ROLE = Path("/opt/flathub/current/role")
sys.path.insert(0, str(ROLE))

from publishing.settings import Inventory  # noqa: E402

inventory = Inventory.load(ROLE.parent / "generated/inventory.json")
password = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "worker-password").read_text().strip()

application = service.Application("buildbot-worker")
Worker(
    inventory.master,
    9989,
    inventory.name,
    password,
    "/srv/worker",
    # Seconds between signs of life: less than what a firewall takes to forget a connection.
    keepalive=60,
    umask=0o027,
    # The longest pause between attempts to reach the master, in seconds.
    maxdelay=30,
    allow_shutdown=None,
).setServiceParent(application)
