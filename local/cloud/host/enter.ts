import { type RunOptions, run } from "../../../process/run.ts";
import { findLeader } from "./machine.ts";
import type { Place } from "./state.ts";

/** The command line that runs `argv` as root inside a running machine. */
function enterCommand(place: Place, serverId: string, argv: readonly string[]): string[] {
	const leader = findLeader(place, serverId);
	if (!leader) throw new Error(`server ${serverId}: its machine does not run`);
	const environment = [
		"HOME=/root",
		"LANG=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	];
	return ["nsenter", `--target=${leader.pid}`, "--all", "--wd=/", "--", "env", "-i", ...environment, ...argv];
}

/** Runs a command as root inside a running machine and gives its stdout, without the last line's end. */
export async function enter(
	place: Place,
	serverId: string,
	argv: readonly string[],
	options: Pick<RunOptions, "input" | "timeoutSeconds"> = {},
): Promise<string> {
	const { stdout } = await run(enterCommand(place, serverId, argv), options);
	return stdout;
}
