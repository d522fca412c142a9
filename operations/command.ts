import { ExecaError } from "execa";

/** Runs a command's body; a failure becomes one readable message on stderr and exit code 1. */
export async function runCommand(body: () => Promise<void>): Promise<void> {
	try {
		await body();
	} catch (error) {
		process.exitCode = 1;
		console.error(describeError(error));
	}
}

/** What a person needs of an error: for a failed program its name, exit code and last lines. */
export function describeError(error: unknown): string {
	if (error instanceof ExecaError) {
		const output = [error.stdout, error.stderr].filter((text) => typeof text === "string" && text !== "").join("\n");
		const tail = output.trimEnd().split("\n").slice(-25).join("\n");
		return `${error.shortMessage}${tail === "" ? "" : `\n${tail}`}`;
	}
	return error instanceof Error ? error.message : String(error);
}
