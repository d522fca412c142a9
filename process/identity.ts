import { readFileSync } from "node:fs";
import { poll } from "./poll.ts";

/** One process for ever: process ids are used again, but not with the same start time. */
export interface ProcessIdentity {
	pid: number;
	/** Clock ticks since boot. */
	startTime: string;
}

/** When a process started, in clock ticks since boot; undefined if there is no such process, or only its zombie. */
export function startTime(pid: number): string | undefined {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		// Field 22; the second, the command's name in parentheses, may contain blanks.
		const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
		return fields[0] === "Z" ? undefined : fields[19];
	} catch {
		return undefined;
	}
}

/** Whether a process with this id exists and is no zombie. */
export function isAlive(pid: number): boolean {
	return startTime(pid) !== undefined;
}

/** Whether that very process still runs. */
export function stillRuns({ pid, startTime: recorded }: ProcessIdentity): boolean {
	return startTime(pid) === recorded;
}

/** Ends processes by their ids: SIGTERM, then SIGKILL after `graceSeconds`; returns when they are gone. */
export async function endProcesses(pids: readonly number[], graceSeconds = 5): Promise<void> {
	const identities = pids.flatMap((pid) => {
		const time = startTime(pid);
		return time === undefined ? [] : [{ pid, startTime: time }];
	});
	const left = () => identities.filter(stillRuns).map(({ pid }) => pid);
	for (const signal of ["SIGTERM", "SIGKILL"] as const) {
		for (const pid of left()) {
			try {
				process.kill(pid, signal);
			} catch {
				// It ended in between.
			}
		}
		const ended = poll("their end", graceSeconds, () => left().length === 0 || undefined, 0.05);
		if (await ended.catch(() => false)) return;
	}
	throw new Error(`process ${left().join(", ")} does not end, not even by SIGKILL`);
}
