import type { RoleFirstBoot } from "./render.ts";

/** The Flatpak repository: `worker` fetches, `unpack` unpacks, `publisher` owns it, `signer` is gpg-agent's user. */
export const repo: RoleFirstBoot = {
	packages: ["flatpak", "ostree", "gnupg", "gpg-agent", "nginx-light", "python3-venv", "nftables", "sudo", "rsync"],
	users: ["worker", "unpack", "publisher", "signer"],
	files: [],
};
