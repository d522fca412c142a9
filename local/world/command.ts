import { spawn } from "node:child_process";

export interface CommandResult {
	exitCode: number;
	stdout: string;
	stderr: string;
}

export interface CommandOptions {
	cwd?: string;
	/** Added to this process's environment. */
	env?: Record<string, string>;
	input?: string;
	/** The command is killed and the call fails after this long. Default: 600. */
	timeoutSeconds?: number;
	/** Return a non-zero exit code instead of throwing. Default: false. */
	allowFailure?: boolean;
	/** Called with each line of stdout and stderr as it comes. */
	onLine?: (line: string) => void;
}

/** A command that ended with a non-zero exit code, by a signal, or not in time. */
export class CommandError extends Error {
	readonly result: CommandResult;

	constructor(message: string, result: CommandResult) {
		super(message);
		this.result = result;
	}
}

/** Run `argv` (no shell) and return its output; throws CommandError unless it exits with 0 or `allowFailure` is set. */
export function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
	const [program, ...args] = argv;
	if (program === undefined) throw new Error("runCommand: an empty command");
	const timeoutSeconds = options.timeoutSeconds ?? 600;
	return new Promise((resolve, reject) => {
		const child = spawn(program, args, {
			cwd: options.cwd,
			env: { ...process.env, ...options.env },
			stdio: ["pipe", "pipe", "pipe"],
			detached: true,
		});
		let timedOut = false;
		const timer = setTimeout(() => {
			timedOut = true;
			// The whole process group: the command may have children that hold the pipes open.
			if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
		}, timeoutSeconds * 1000);
		const output = { stdout: "", stderr: "" };
		for (const stream of ["stdout", "stderr"] as const) {
			let rest = "";
			child[stream].setEncoding("utf8").on("data", (text: string) => {
				output[stream] += text;
				if (options.onLine === undefined) return;
				const lines = (rest + text).split(/\r?\n/);
				rest = lines.pop() ?? "";
				for (const line of lines) options.onLine(line);
			});
		}
		child.on("error", (error: NodeJS.ErrnoException) => {
			clearTimeout(timer);
			const reason = error.code === "ENOENT" ? "it is not installed" : error.message;
			reject(new Error(`${program} could not be started: ${reason}`));
		});
		child.on("close", (code, signal) => {
			clearTimeout(timer);
			const result = { exitCode: code ?? 128, ...output };
			if (!timedOut && (code === 0 || (options.allowFailure && code !== null))) return resolve(result);
			const how = timedOut ? `took longer than ${timeoutSeconds} s` : `ended with ${signal ?? `exit code ${code}`}`;
			const tail = (output.stderr.trim() || output.stdout.trim()).split("\n").slice(-15).join("\n");
			reject(new CommandError(`${argv.join(" ")}: ${how}${tail === "" ? "" : `\n${tail}`}`, result));
		});
		child.stdin.on("error", () => {
			// The command ended without reading its input: its exit code says what happened.
		});
		child.stdin.end(options.input ?? "");
	});
}
