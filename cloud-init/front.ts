import { fileFrom } from "./files.ts";
import type { RoleFirstBoot } from "./render.ts";

/** The only machine with a public address: nginx, and the way out for all the others. */
export const front: RoleFirstBoot = {
	packages: ["nginx", "libnginx-mod-stream", "nftables"],
	users: [],
	files: [
		fileFrom("front/nftables.conf", "/etc/flathub/base-firewall.nft", "0644"),
		fileFrom("front/sysctl.conf", "/etc/sysctl.d/60-flathub.conf", "0644"),
	],
};
