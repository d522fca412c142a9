import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { account } from "../local/settings.ts";
import { endProcesses, isAlive } from "../process/identity.ts";
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
	const held = heldLocks(backend);
	if (held.length === 0) return;
	refuseLiveChange({ backend }, stack.name);
	for (const file of held) {
		const pid = holderOf(file);
		progress(
			pid === undefined
				? "a process was killed while it took the stack's lock: releasing it"
				: `process ${pid} was killed in the middle of a change: releasing its lock`,
		);
	}
	await endLeftBehind(backend);
	const recorded = (await stack.resources()).flatMap(({ id }) => (id === undefined ? [] : [id]));
	for (const orphan of await findOrphans({ ...account, apiUrl }, stack.name, recorded)) {
		progress(`removing ${orphan.kind} ${orphan.name}, which the killed change did not record`);
		await orphan.remove();
	}
	// Last, so that a recovery that is killed too is begun again.
	await stack.pulumi(["cancel", "--yes", "--stack", stack.name]);
}

/** @throws Error that names the process if somebody is changing the stack right now */
export function refuseLiveChange({ backend }: Pick<Change, "backend">, stackName: string): void {
	const pid = heldLocks(backend)
		.map(holderOf)
		.find((holder) => holder !== undefined && isAlive(holder));
	if (pid === undefined) return;
	throw new Error(
		`Stack ${stackName} is being changed by process ${pid}; wait until it has finished, or end it, and run this again.`,
	);
}

/**
 * Ends the plugins and language hosts that a killed pulumi left running. They are known by the backend in their
 * environment, which no process has that this project did not start.
 */
export async function endLeftBehind(backend: string): Promise<void> {
	const mark = `PULUMI_BACKEND_URL=file://${backend}`;
	const left = readdirSync("/proc")
		.filter((entry) => /^[0-9]+$/.test(entry))
		.filter((entry) => {
			try {
				return readFileSync(`/proc/${entry}/environ`, "utf8").split("\0").includes(mark);
			} catch {
				return false; // ended meanwhile
			}
		})
		.map(Number)
		.filter((pid) => pid !== process.pid);
	await endProcesses(left);
}

function heldLocks(backend: string): string[] {
	const locks = join(backend, ".pulumi", "locks");
	if (!existsSync(locks)) return [];
	return readdirSync(locks, { recursive: true, encoding: "utf8" })
		.filter((file) => file.endsWith(".json"))
		.map((file) => join(locks, file));
}

/** The process that a lock names; undefined if it was cut off in the middle of being written. */
function holderOf(file: string): number | undefined {
	try {
		return lockSchema.parse(JSON.parse(readFileSync(file, "utf8"))).pid;
	} catch {
		return undefined;
	}
}
