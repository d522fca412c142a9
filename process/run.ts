import { execa } from "execa";

/** How a program is run. */
export interface RunOptions {
	cwd?: string;
	/** The whole environment; default: this process's. */
	env?: Record<string, string | undefined>;
	/** Standard input; default: none. */
	input?: string;
	/** Whether the program talks to the terminal itself; its output is empty then. Default false. */
	interactive?: boolean;
	/** Whether a non-zero exit code is an answer instead of an error. Default false. */
	mayFail?: boolean;
	/** Network namespace under /run/netns to run in; default: this process's. */
	namespace?: string;
	/** Told each line of standard output as it comes. */
	onLine?: (line: string) => void;
	/**
	 * The program and all that it started are killed after this time. Default 600. With Infinity, and if it is interactive,
	 * there is no limit, and the program gets the terminal's signals (Ctrl-C) with this process.
	 */
	timeoutSeconds?: number;
}

export interface Finished {
	exitCode: number;
	/** Without the last line's end. */
	stdout: string;
	stderr: string;
}

/** How many lines of what a failed program printed are part of the error. */
const tailLines = 25;

/** The command line that runs `argv` in a network namespace under /run/netns. */
export function inNamespace(namespace: string, argv: readonly string[]): string[] {
	// nsenter and not `ip netns exec`: that one mounts a new /sys, which hides the cgroup tree.
	return ["nsenter", `--net=/run/netns/${namespace}`, "--", ...argv];
}

/**
 * Runs a program (no shell) to its end.
 *
 * @throws Error with the command line, what happened and the end of the output: on a non-zero exit code unless `mayFail`,
 *   and always if the program can't be started, is ended by a signal or takes too long.
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
	const { interactive = false, timeoutSeconds = 600, input, namespace, onLine } = options;
	const [program, ...args] = namespace === undefined ? argv : inNamespace(namespace, argv);
	if (program === undefined) throw new Error("there is no program in an empty command line");
	const limited = !interactive && Number.isFinite(timeoutSeconds);
	const stdio = interactive ? "inherit" : "pipe";
	const child = execa(program, args, {
		...(options.cwd === undefined ? {} : { cwd: options.cwd }),
		...(options.env === undefined ? {} : { env: options.env, extendEnv: false }),
		...(input === undefined ? { stdin: interactive ? "inherit" : "ignore" } : { input }),
		stdout: stdio,
		stderr: stdio,
		reject: false,
		// In a group of its own, so that the limit also ends what it started and what holds its output open.
		detached: limited,
	});
	let late = false;
	const limit = limited
		? setTimeout(() => {
				late = true;
				if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
			}, timeoutSeconds * 1000)
		: undefined;
	try {
		if (onLine !== undefined) {
			// The loop only listens; the result, and a failure, come from the program itself.
			for await (const line of child.iterable({ from: "stdout", preserveNewlines: false })) {
				if (typeof line === "string" && line.trim() !== "") onLine(line.trim());
			}
		}
		const { exitCode, signal, code, originalMessage, stdout = "", stderr = "" } = await child;
		const finished = { exitCode: exitCode ?? 1, stdout: String(stdout), stderr: String(stderr) };
		if (!late && (exitCode === 0 || (exitCode !== undefined && options.mayFail))) return finished;
		const reason = late
			? `ended after ${timeoutSeconds} s without an answer`
			: exitCode !== undefined
				? `exit code ${exitCode}`
				: signal !== undefined
					? `ended by ${signal}`
					: `could not be started: ${code === "ENOENT" ? "it is not installed" : originalMessage}`;
		const output = [finished.stdout, finished.stderr].map((text) => text.trim()).filter((text) => text !== "");
		const tail = output.join("\n").split("\n").slice(-tailLines);
		throw new Error([`${argv.join(" ").slice(0, 300)}: ${reason}`, ...tail].join("\n").trimEnd());
	} finally {
		clearTimeout(limit);
	}
}

/** The standard output of a program; undefined if it fails in whatever way: for asking whether something exists. */
export async function attempt(argv: readonly string[], options: RunOptions = {}): Promise<string | undefined> {
	return run(argv, options).then(
		({ stdout }) => stdout,
		() => undefined,
	);
}
