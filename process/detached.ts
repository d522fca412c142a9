import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";

export interface DetachedOptions {
	/** Gets standard output and standard error; made with its folder, for root only. */
	log: string;
	/** Whether the log of an earlier process is kept. Default false. */
	append?: boolean;
	cwd?: string;
	/** The whole environment; default: this process's. */
	env?: NodeJS.ProcessEnv;
}

/** A process that outlives this one. */
export interface Detached {
	pid: number;
	/** Whether it is over; it is known only while this process lives. */
	ended(): boolean;
}

/** Starts a process of a session of its own, which outlives this one. @throws if it can't be started. */
export async function startDetached(argv: readonly string[], options: DetachedOptions): Promise<Detached> {
	const [program, ...args] = argv;
	if (program === undefined) throw new Error("there is no program in an empty command line");
	mkdirSync(dirname(options.log), { recursive: true, mode: 0o700 });
	const log = openSync(options.log, options.append ? "a" : "w", 0o600);
	try {
		const child = spawn(program, args, {
			detached: true,
			stdio: ["ignore", log, log],
			...(options.cwd === undefined ? {} : { cwd: options.cwd }),
			...(options.env === undefined ? {} : { env: options.env }),
		});
		await new Promise<void>((resolve, reject) => {
			child.once("spawn", resolve);
			child.once("error", (error) => reject(new Error(`${program} could not be started: ${error.message}`)));
		});
		child.unref();
		return { pid: child.pid as number, ended: () => child.exitCode !== null || child.signalCode !== null };
	} finally {
		closeSync(log);
	}
}
