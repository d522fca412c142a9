import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Finished } from "../process/run.ts";
import type { Stack } from "./stack.ts";

/** How many lines of diagnostics a failure shows; the log has all. */
const shownLines = 40;

/** What a line of `pulumi up` or `destroy` says has happened to a resource, as "name: created (3s)"; undefined if nothing has. */
export function resourceStatus(line: string): string | undefined {
	const match =
		/^\s*[+~<>=-]{1,2}\s+\S+:\S+:\S+\s+(\S+)\s+(created|updated|deleted|replaced|\*\*\w+ failed\*\*)(?:\s+(\([^)]*\)))?/.exec(
			line,
		);
	if (!match) return undefined;
	const [, name, status = "", took] = match;
	return `${name}: ${status.replaceAll("*", "")}${took === undefined ? "" : ` ${took}`}`;
}

/** The failed resources' diagnostics, each once, at most the last 40 lines; if there are none, the end of the output. */
export function failureSummary({ stdout, stderr }: Pick<Finished, "stdout" | "stderr">): string {
	const blocks = diagnostics(stdout).filter((block) => block.some((line) => /^\s*error:/.test(line)));
	// Pulumi repeats at the stack that the update failed; with a resource's own error there that says nothing.
	const own = blocks.filter((block) => !block.some((line) => /^\s*error: (update|preview|destroy) failed$/.test(line)));
	const lines = (own.length > 0 ? own : blocks).flat();
	const all = lines.length > 0 ? lines : `${stdout.trim()}\n${stderr.trim()}`.trim().split("\n");
	return all.slice(-shownLines).join("\n");
}

/** What stands under "Diagnostics:", a block of lines for each resource. */
function diagnostics(stdout: string): string[][] {
	const lines = stdout.split("\n");
	const start = lines.lastIndexOf("Diagnostics:");
	if (start === -1) return [];
	const blocks: string[][] = [];
	for (const line of lines.slice(start + 1)) {
		if (/^\S/.test(line)) break;
		// The Scaleway provider says every error twice, first as a line of its own log.
		if (/^\s+error:\s+sdk-v2\//.test(line)) continue;
		if (/^ {2}\S.*:$/.test(line)) blocks.push([line]);
		else if (line.trim() !== "") blocks.at(-1)?.push(line);
	}
	return blocks;
}

/**
 * Runs `pulumi up` or `pulumi destroy` without questions.
 *
 * @param log file that gets all its output, as it comes
 * @param progress told what has happened to each resource
 * @throws Error with what failed and the log's path
 */
export async function changeStack(
	stack: Stack,
	command: "up" | "destroy",
	log: string,
	progress: (line: string) => void,
): Promise<void> {
	mkdirSync(dirname(log), { recursive: true, mode: 0o700 });
	writeFileSync(log, "", { mode: 0o600 });
	// Of a server that was made but did not start the state lacks the root volume, without which it can't be deleted.
	const isHalfMade = (await stack.resources()).some(({ initErrors = [] }) => initErrors.length > 0);
	const options = ["--yes", "--skip-preview", "--suppress-outputs", "--color", "never"];
	const finished = await stack.pulumi(
		[command, ...options, ...(isHalfMade ? ["--refresh"] : []), ...stack.configArguments],
		{
			mayFail: true,
			onLine: (line) => {
				appendFileSync(log, `${line}\n`);
				const status = resourceStatus(line);
				if (status !== undefined) progress(status);
			},
		},
	);
	writeFileSync(log, `${finished.stdout}\n${finished.stderr}\n`);
	if (finished.exitCode === 0) return;
	throw new Error(
		[
			`pulumi ${command} of stack ${stack.name} failed (exit code ${finished.exitCode}):`,
			failureSummary(finished),
			`The whole output is in ${log}. What went well is recorded: run this again once the cause is removed.`,
		].join("\n"),
	);
}
