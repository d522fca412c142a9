import type { Role } from "./config.ts";

/** The options of a server and of what must outlive it that decide when they are replaced or deleted. */
export interface ReplacementPolicy {
	server: {
		/** Never two at once: the data volume and the reserved address can belong to one server only. */
		deleteBeforeReplace: true;
		replaceOnChanges: string[];
		ignoreChanges: string[];
	};
	/** Whether the data volume refuses to be deleted. */
	protectDataVolume: boolean;
	/** Whether the public address, where there is one, refuses to be deleted. */
	protectPublicAddress: boolean;
}

const firstBoot = ["userData", "image"];

/**
 * When a machine of a role is replaced, and what of it is protected.
 *
 * Builders and front hold nothing that is not delivered or on a volume, so changed first-boot data makes a new one:
 * Scaleway would only store it, and no machine runs its first boot twice. Master and repo are replaced on purpose
 * only (`scripts/replace NAME`). Servers are never protected.
 *
 * @param protect whether the stack protects what can't be made again
 */
export function replacementPolicy(role: Role, protect: boolean): ReplacementPolicy {
	return {
		server: { deleteBeforeReplace: true, ...serverChanges(role) },
		protectDataVolume: protect && role !== "builder",
		protectPublicAddress: protect && role === "front",
	};
}

function serverChanges(role: Role): { replaceOnChanges: string[]; ignoreChanges: string[] } {
	switch (role) {
		case "builder":
		case "front":
			return { replaceOnChanges: [...firstBoot], ignoreChanges: [] };
		case "master":
		case "repo":
			return { replaceOnChanges: [], ignoreChanges: [...firstBoot] };
		default:
			return role satisfies never;
	}
}
