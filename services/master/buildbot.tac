# -*- python -*-
"""Buildbot's master as a Twisted application; started in its base folder by buildbot-master.service."""

import os
from pathlib import Path

from buildbot.master import BuildMaster
from twisted.application import service

basedir = os.getcwd()
configfile = os.environ.get("FLATHUB_MASTER_CFG", "/opt/flathub/current/role/master.cfg")

# Buildbot recognises a base folder by this line, quotes included.
application = service.Application('buildmaster')
BuildMaster(basedir, configfile, None).setServiceParent(application)
