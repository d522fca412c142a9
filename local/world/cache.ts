import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isAlive } from "../../process/identity.ts";

/** The first 16 hex digits of the SHA-256 of a recipe: part of a cached folder's name. */
export function recipeKey(recipe: unknown): string {
	return createHash("sha256").update(JSON.stringify(recipe)).digest("hex").slice(0, 16);
}

/**
 * The folder `directory`, made by `build` unless it is there. `build` fills a folder beside it that gets its name only when
 * complete, so a killed run leaves no half of it; what killed runs left is removed.
 */
export async function cachedDirectory(directory: string, build: (partial: string) => Promise<void>): Promise<string> {
	if (existsSync(directory)) return directory;
	const parent = dirname(directory);
	await mkdir(parent, { recursive: true });
	const prefix = `${basename(directory)}.partial-`;
	for (const name of await readdir(parent)) {
		if (name.startsWith(prefix) && !isAlive(Number(name.slice(prefix.length)))) {
			await rm(join(parent, name), { recursive: true, force: true });
		}
	}
	const partial = join(parent, `${prefix}${process.pid}`);
	await rm(partial, { recursive: true, force: true });
	await mkdir(partial);
	try {
		await build(partial);
		await rename(partial, directory);
	} catch (error) {
		await rm(partial, { recursive: true, force: true });
		// Another run was faster: its folder is the same.
		if (!existsSync(directory)) throw error;
	}
	return directory;
}
