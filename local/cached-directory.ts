import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { withLock } from "../process/lock.ts";
import { unmountBelow } from "./mount.ts";

/** The first 16 hex digits of the SHA-256 of a recipe: part of a cached folder's name. */
export function recipeKey(recipe: unknown): string {
	return createHash("sha256").update(JSON.stringify(recipe)).digest("hex").slice(0, 16);
}

/** How long to wait for another process that builds in the same folder, in seconds. */
const lockSeconds = 3600;

/**
 * The folder `directory`, made by `build` unless it is there. `build` fills a folder beside it that gets its name only when
 * complete, so a killed run leaves no half of it; what killed runs left beside it is removed. One process builds at a time.
 *
 * @param onWait told if another process has to end its building first
 */
export async function cachedDirectory(
	directory: string,
	build: (building: string) => Promise<void>,
	onWait: () => void = () => {},
): Promise<string> {
	if (existsSync(directory)) return directory;
	const parent = dirname(directory);
	mkdirSync(parent, { recursive: true, mode: 0o755 });
	return withLock(join(parent, ".lock"), lockSeconds, onWait, async () => {
		if (existsSync(directory)) return directory;
		// The lock is ours, so this is what a killed build left.
		for (const name of readdirSync(parent)) if (name.endsWith(".building")) await remove(join(parent, name));
		const building = `${directory}.building`;
		mkdirSync(building);
		try {
			await build(building);
		} catch (error) {
			await remove(building);
			throw error;
		}
		renameSync(building, directory);
		return directory;
	});
}

/** Removes a folder in which a build may have had mounts. */
async function remove(directory: string): Promise<void> {
	await unmountBelow(directory);
	rmSync(directory, { recursive: true, force: true });
}
