"""The publisher of the Flatpak repository: from a build's tar files to signed commits that clients can install."""
