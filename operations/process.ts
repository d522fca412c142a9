import { execa } from "execa";

/** How a program is run. */
export interface RunOptions {
	cwd?: string;
	/** The whole environment; default: this process's. */
	env?: Record<string, string | undefined>;
	/** Standard input; default: none. */
	input?: string;
	/** Whether the program talks to the terminal itself; its output is empty then. */
	interactive?: boolean;
	/** Told each line of standard output as it comes. */
	onLine?: (line: string) => void;
	/** Whether a non-zero exit code is an answer instead of an error. Default false. */
	mayFail?: boolean;
}

export interface Finished {
	exitCode: number;
	stdout: string;
	stderr: string;
}

/** Runs a program to its end. @throws ExecaError on a non-zero exit code unless `mayFail`, and always if it can't be started. */
export async function run(command: string, args: string[], options: RunOptions = {}): Promise<Finished> {
	const stdio = options.interactive ? "inherit" : "pipe";
	const child = execa(command, args, {
		...(options.cwd === undefined ? {} : { cwd: options.cwd }),
		...(options.env === undefined ? {} : { env: options.env, extendEnv: false }),
		...(options.input === undefined ? { stdin: options.interactive ? "inherit" : "ignore" } : { input: options.input }),
		stdout: stdio,
		stderr: stdio,
		reject: !options.mayFail,
	});
	if (options.onLine !== undefined) {
		// The loop only listens; the result, and a failure, come from the program itself.
		for await (const line of child.iterable({ from: "stdout", preserveNewlines: false })) {
			if (typeof line === "string" && line.trim() !== "") options.onLine(line.trim());
		}
	}
	const { exitCode, stdout, stderr, cause } = await child;
	if (exitCode === undefined && cause !== undefined) throw cause;
	return { exitCode: exitCode ?? 1, stdout: String(stdout ?? ""), stderr: String(stderr ?? "") };
}
