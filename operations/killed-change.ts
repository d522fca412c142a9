import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { account } from "../local/settings.ts";
import { isAlive } from "../process/identity.ts";
import { findOrphans } from "./orphans.ts";
import type { Stack } from "./stack.ts";

const lockSchema = z.looseObject({ pid: z.number() });

interface Change {
	/** The local cloud's. */
	apiUrl: string;
	/** The folder of the stack's file backend. */
	backend: string;
}

/**
 * A change of the stack that was killed leaves a lock, and resources that its state does not know: both go, so that the
 * next can begin.
 *
 * @param progress told each step
 * @throws Error that names the process if the change is still going on
 */
export async function recoverKilledChange(
	{ apiUrl, backend }: Change,
	stack: Pick<Stack, "name" | "pulumi" | "resources">,
	progress: (line: string) => void,
): Promise<void> {
	const locks = join(backend, ".pulumi", "locks");
	if (!existsSync(locks)) return;
	const held = readdirSync(locks, { recursive: true, encoding: "utf8" })
		.filter((file) => file.endsWith(".json"))
		.map((file) => join(locks, file));
	if (held.length === 0) return;
	for (const file of held) {
		const pid = holderOf(file);
		if (pid === undefined) {
			progress("a process was killed while it took the stack's lock: releasing it");
			continue;
		}
		if (isAlive(pid)) {
			throw new Error(
				`Stack ${stack.name} is being changed by process ${pid}; wait until it has finished, or end it, and run this again.`,
			);
		}
		progress(`process ${pid} was killed in the middle of a change: releasing its lock`);
	}
	const recorded = (await stack.resources()).flatMap(({ id }) => (id === undefined ? [] : [id]));
	for (const orphan of await findOrphans({ ...account, apiUrl }, stack.name, recorded)) {
		progress(`removing ${orphan.kind} ${orphan.name}, which the killed change did not record`);
		await orphan.remove();
	}
	// Last, so that a recovery that is killed too is begun again.
	await stack.pulumi(["cancel", "--yes", "--stack", stack.name]);
}

/** The process that a lock names; undefined if it was cut off in the middle of being written. */
function holderOf(file: string): number | undefined {
	try {
		return lockSchema.parse(JSON.parse(readFileSync(file, "utf8"))).pid;
	} catch {
		return undefined;
	}
}
