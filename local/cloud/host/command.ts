import { execFile } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";

export interface CommandOptions {
	/** Written to the command's stdin. */
	input?: string;
	/** Network namespace under /run/netns to run in; the root one if absent. */
	namespace?: string;
	env?: NodeJS.ProcessEnv;
	/** The command is killed after this time. Default 120 s. */
	timeoutSeconds?: number;
}

/** Runs a command and gives its stdout. A failure is an error with the command line and what it printed on stderr. */
export function run(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
	// nsenter and not `ip netns exec`: that one mounts a new /sys, which hides the cgroup tree.
	const full = options.namespace ? ["nsenter", `--net=/run/netns/${options.namespace}`, "--", ...argv] : [...argv];
	const timeoutSeconds = options.timeoutSeconds ?? 120;
	return new Promise((resolve, reject) => {
		const child = execFile(
			full[0] as string,
			full.slice(1),
			{ maxBuffer: 64 * 1024 * 1024, timeout: timeoutSeconds * 1000, env: options.env ?? process.env },
			(error, stdout, stderr) => {
				if (!error) return resolve(stdout);
				const killed = error.killed ? `no answer after ${timeoutSeconds} s` : "";
				const detail = [killed, stderr.trim() || stdout.trim() || error.message].filter(Boolean).join(": ");
				reject(new Error(`${argv.join(" ").slice(0, 300)}: ${detail.slice(-2000)}`));
			},
		);
		child.stdin?.on("error", () => {}); // the command may end without reading its input
		child.stdin?.end(options.input ?? "");
	});
}

/** Like `run`, but gives undefined on failure: for asking whether something exists. */
export async function attempt(argv: readonly string[], options: CommandOptions = {}): Promise<string | undefined> {
	return run(argv, options).catch(() => undefined);
}

/**
 * Polls until `condition` gives something other than undefined or false.
 * @throws after `timeoutSeconds`, with `what` and whatever `detail` adds
 */
export async function until<T>(
	what: string,
	timeoutSeconds: number,
	condition: () => Promise<T | undefined | false> | T | undefined | false,
	detail: () => string = () => "",
): Promise<T> {
	const deadline = Date.now() + timeoutSeconds * 1000;
	for (;;) {
		const value = await condition();
		if (value !== undefined && value !== false) return value;
		if (Date.now() > deadline) {
			const more = detail();
			throw new Error(`${what}: not within ${timeoutSeconds} s${more ? `: ${more}` : ""}`);
		}
		await delay(50);
	}
}
