import { fileFrom } from "./files.ts";
import type { RoleFirstBoot } from "./render.ts";

/** Buildbot's master and its PostgreSQL, whose cluster lives on the data volume: Debian's own is not made. */
export const master: RoleFirstBoot = {
	packages: ["postgresql", "git", "python3-venv", "nftables"],
	users: ["buildbot"],
	files: [fileFrom("master/createcluster.conf", "/etc/postgresql-common/createcluster.d/flathub.conf", "0644")],
};
