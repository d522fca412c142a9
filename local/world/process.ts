import { spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";

const pidFileSchema = z.strictObject({ pid: z.int().positive(), startTime: z.string(), version: z.string() });

/** A detached process, told from a later one with the same process id by its start time. */
export type ProcessRecord = z.infer<typeof pidFileSchema>;

/** Whether a process with this id exists and is no zombie. */
export function isAlive(pid: number): boolean {
	return startTime(pid) !== undefined;
}

/** Field 22 of /proc/PID/stat (ticks since boot), or undefined if there is no such process or it is a zombie. */
function startTime(pid: number): string | undefined {
	try {
		const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
		// The command's name, in parentheses, may contain spaces.
		const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
		return fields[0] === "Z" ? undefined : fields[19];
	} catch {
		return undefined;
	}
}

/** The process that `pidFile` names, if it is still that one. */
export async function recordedProcess(pidFile: string): Promise<ProcessRecord | undefined> {
	let text: string;
	try {
		text = await readFile(pidFile, "utf8");
	} catch {
		return undefined;
	}
	try {
		const record = pidFileSchema.parse(JSON.parse(text));
		return startTime(record.pid) === record.startTime ? record : undefined;
	} catch {
		// A file cut short by a crash names nobody.
		return undefined;
	}
}

export interface DetachedOptions {
	cwd: string;
	logFile: string;
	pidFile: string;
	/** Kept in the pid file: tells whether what runs is what should run. */
	version: string;
}

/** Start a process that outlives this one, its output appended to `logFile`, and record it in `pidFile`. */
export async function startDetached(argv: readonly string[], options: DetachedOptions): Promise<ProcessRecord> {
	const [program, ...args] = argv;
	if (program === undefined) throw new Error("startDetached: an empty command");
	const log = openSync(options.logFile, "a", 0o600);
	const child = spawn(program, args, { cwd: options.cwd, stdio: ["ignore", log, log], detached: true });
	await new Promise<void>((resolve, reject) => {
		child.once("spawn", resolve);
		child.once("error", reject);
	});
	child.unref();
	const pid = child.pid as number;
	const record = { pid, startTime: startTime(pid) ?? "", version: options.version };
	await writeFile(options.pidFile, JSON.stringify(record), { mode: 0o600 });
	return record;
}

/** End processes by their ids: SIGTERM, then SIGKILL after `graceSeconds`; returns when they are gone. */
export async function endProcesses(pids: readonly number[], graceSeconds = 5): Promise<void> {
	const records = pids.map((pid) => ({ pid, startTime: startTime(pid) }));
	const left = () => records.filter(({ pid, startTime: start }) => start !== undefined && startTime(pid) === start);
	for (const signal of ["SIGTERM", "SIGKILL"] as const) {
		for (const { pid } of left()) {
			try {
				process.kill(pid, signal);
			} catch {
				// It ended in between.
			}
		}
		const deadline = Date.now() + graceSeconds * 1000;
		while (left().length > 0 && Date.now() < deadline) await delay(50);
		if (left().length === 0) return;
	}
	throw new Error(
		`process ${left()
			.map(({ pid }) => pid)
			.join(", ")} does not end, not even by SIGKILL`,
	);
}

/** End the process that `pidFile` names, if it still runs, and remove the file. */
export async function stopRecorded(pidFile: string): Promise<void> {
	const record = await recordedProcess(pidFile);
	if (record !== undefined) await endProcesses([record.pid]);
	await rm(pidFile, { force: true });
}
