import { readFile, rm, writeFile } from "node:fs/promises";
import { z } from "zod";
import { startDetached } from "../../process/detached.ts";
import { endProcesses, startTime, stillRuns } from "../../process/identity.ts";

const pidFileSchema = z.strictObject({ pid: z.int().positive(), startTime: z.string(), version: z.string() });

/** A process that a file names, and which version of it runs. */
export type ProcessRecord = z.infer<typeof pidFileSchema>;

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
		return stillRuns(record) ? record : undefined;
	} catch {
		// A file cut short by a crash names nobody.
		return undefined;
	}
}

export interface RecordedOptions {
	cwd: string;
	logFile: string;
	pidFile: string;
	/** Kept in the pid file: tells whether what runs is what should run. */
	version: string;
}

/** Start a process that outlives this one, its output appended to `logFile`, and record it in `pidFile`. */
export async function startRecorded(argv: readonly string[], options: RecordedOptions): Promise<void> {
	const { pid } = await startDetached(argv, { cwd: options.cwd, log: options.logFile, append: true });
	const record: ProcessRecord = { pid, startTime: startTime(pid) ?? "", version: options.version };
	await writeFile(options.pidFile, JSON.stringify(record), { mode: 0o600 });
}

/** End the process that `pidFile` names, if it still runs, and remove the file. */
export async function stopRecorded(pidFile: string): Promise<void> {
	const record = await recordedProcess(pidFile);
	if (record !== undefined) await endProcesses([record.pid]);
	await rm(pidFile, { force: true });
}
