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
		"desktop-file-utils",
		// Icons in SVG are checked with it.
		"librsvg2-common",
		// What flatpak-builder calls on sources and on what was built; it only recommends them.
		"patch",
		"unzip",
		"bzip2",
		"zstd",
		"7zip",
		"binutils",
		"elfutils",
	],
	users: ["worker", "build"],
	files: [],
};
