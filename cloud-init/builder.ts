import type { RoleFirstBoot } from "./render.ts";

/** A Buildbot worker that builds strangers' code: `worker` holds the password, `build` builds. */
export const builder: RoleFirstBoot = {
	packages: [
		"flatpak",
		"flatpak-builder",
		"git",
		"python3-venv",
		"bubblewrap",
		"nftables",
		"sudo",
		"xz-utils",
		"appstream",
	],
	users: ["worker", "build"],
	files: [],
};
