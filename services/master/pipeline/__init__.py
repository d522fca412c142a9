"""The way of an app from a push to the repository, as Buildbot's configuration."""
