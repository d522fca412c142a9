import { type CommandOptions, run } from "./command.ts";
import { findLeader } from "./machine.ts";
import type { Place } from "./state.ts";

/** The command line that runs `argv` as root inside a running machine. */
export function enterCommand(place: Place, serverId: string, argv: readonly string[]): string[] {
	const leader = findLeader(place, serverId);
	if (!leader) throw new Error(`server ${serverId}: its machine does not run`);
	const environment = [
		"HOME=/root",
		"LANG=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	];
	return ["nsenter", `--target=${leader.pid}`, "--all", "--wd=/", "--", "env", "-i", ...environment, ...argv];
}

/** Runs a command as root inside a running machine and gives its stdout. */
export async function enter(
	place: Place,
	serverId: string,
	argv: readonly string[],
	options: Omit<CommandOptions, "namespace" | "env"> = {},
): Promise<string> {
	return run(enterCommand(place, serverId, argv), options);
}
