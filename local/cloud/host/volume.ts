import { existsSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { attempt, run } from "../../../process/run.ts";
import type { Place } from "./state.ts";

// Block volumes: sparse files, and loop devices while a server holds them.

const file = (place: Place, volumeId: string) => path.join(place.directory, "volumes", `${volumeId}.img`);

export function createVolume(place: Place, volumeId: string, bytes: number): void {
	mkdirSync(path.join(place.directory, "volumes"), { recursive: true, mode: 0o700 });
	if (!existsSync(file(place, volumeId))) {
		// The size comes with the second step; killed in between, the next call finds a file that is too small.
		writeFileSync(file(place, volumeId), "", { mode: 0o600, flag: "a" });
	}
	if (statSync(file(place, volumeId)).size < bytes) truncateSync(file(place, volumeId), bytes);
}

export async function resizeVolume(place: Place, volumeId: string, bytes: number): Promise<void> {
	const { size } = statSync(file(place, volumeId));
	if (bytes < size) throw new Error(`volume ${volumeId}: can't shrink from ${size} to ${bytes} bytes`);
	truncateSync(file(place, volumeId), bytes);
	for (const device of await devices(file(place, volumeId))) await run(["losetup", "--set-capacity", device]);
}

export async function deleteVolume(place: Place, volumeId: string): Promise<void> {
	await detachVolume(place, volumeId);
	rmSync(file(place, volumeId), { force: true });
}

/** Gives the loop device, `/dev/loop3`. */
export async function attachVolume(place: Place, volumeId: string): Promise<string> {
	if (!existsSync(file(place, volumeId))) throw new Error(`volume ${volumeId}: not there (${file(place, volumeId)})`);
	const [present] = await devices(file(place, volumeId));
	if (present) return present;
	const { stdout } = await run(["losetup", "--show", "--find", file(place, volumeId)]);
	return stdout.trim();
}

export async function detachVolume(place: Place, volumeId: string): Promise<void> {
	for (const device of await devices(file(place, volumeId))) await run(["losetup", "--detach", device]);
}

/** Detaches every loop device over a file in the state directory, deleted files included. */
export async function detachAll(place: Place): Promise<void> {
	const directory = path.join(place.directory, "volumes");
	for (const line of ((await attempt(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"])) ?? "").split(
		"\n",
	)) {
		const match = /^(\S+)\s+(.+)$/.exec(line.trim());
		if (match?.[2]?.startsWith(`${directory}/`)) await run(["losetup", "--detach", match[1] as string]);
	}
}

async function devices(backing: string): Promise<string[]> {
	const out = await attempt(["losetup", "--noheadings", "--output", "NAME", "--associated", backing]);
	return (out ?? "").split("\n").filter(Boolean);
}
