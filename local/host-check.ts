import { existsSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { checkEmulation } from "./binfmt.ts";
import type { LocalSettings } from "./settings.ts";

/** Free disk that a first `up local` needs, in GB (10^9 bytes). */
export const neededDiskGb = { cache: 6, state: 12 };

/** Refuses a system that can't run the local Flathub. @throws Error that says what is missing and what to do. */
export function checkSystem(
	command: string,
	platform: string = process.platform,
	userId: number | undefined = process.getuid?.(),
): void {
	if (platform !== "linux") {
		throw new Error(
			`${command} needs Linux (system containers, network namespaces), and this is ${platform}: run it on a Linux machine, a virtual one will do.`,
		);
	}
	if (userId !== 0) throw new Error(`${command} needs root (user id 0, not ${userId}): run it with sudo.`);
}

/** Refuses a host that has not enough room or can't emulate arm and aarch64. Makes nothing. @throws Error that says what is missing and what to do. */
export function checkHost(settings: LocalSettings): void {
	checkSystem("scripts/up local");
	// A running one has already taken its space.
	if (existsSync(join(settings.stateDir, "cloud.json"))) return;
	const problems = spaceProblems([
		{ dir: settings.cacheDir, gb: neededDiskGb.cache, what: "Pulumi's engine, the machines' image, the runtimes" },
		{ dir: settings.stateDir, gb: neededDiskGb.state, what: "the machines, their volumes and builds" },
	]);
	if (problems.length === 0) {
		checkEmulation();
		return;
	}
	throw new Error(
		[
			"Not enough space for the local Flathub:",
			...problems.map((problem) => `- ${problem}`),
			"Make room, or set FLATHUB_LOCAL_STATE and XDG_CACHE_HOME to folders on a larger disk, and run this again.",
		].join("\n"),
	);
}

interface Need {
	dir: string;
	gb: number;
	what: string;
}

/** A line for each file system with too little room for what is to be put on it. */
function spaceProblems(needs: readonly Need[]): string[] {
	const devices = new Map<number, Need[]>();
	for (const need of needs) {
		const { dev } = statSync(existing(need.dir));
		devices.set(dev, [...(devices.get(dev) ?? []), need]);
	}
	return [...devices.values()].flatMap((group) => {
		const [first] = group;
		if (first === undefined) return [];
		const { bavail, bsize } = statfsSync(existing(first.dir));
		const freeGb = (bavail * bsize) / 1e9;
		const neededGb = group.reduce((sum, { gb }) => sum + gb, 0);
		if (freeGb >= neededGb) return [];
		const parts = group.map(({ dir, gb, what }) => `${dir}: ${gb} GB for ${what}`).join("; ");
		return [`${freeGb.toFixed(1)} GB free, ${neededGb} GB needed (${parts})`];
	});
}

/** The folder itself, or the nearest one above that is there. */
function existing(dir: string): string {
	return existsSync(dir) ? dir : existing(dirname(dir));
}
