import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cachedDirectory, recipeKey } from "./cache.ts";

let root: string;
beforeEach(async () => {
	root = await mkdtemp(join(tmpdir(), "cache-test-"));
});
afterEach(() => rm(root, { recursive: true }));

it("builds once, and again only under another name", async () => {
	let builds = 0;
	const build = async (partial: string) => {
		builds += 1;
		await writeFile(join(partial, "made"), "yes");
	};
	await cachedDirectory(join(root, "thing"), build);
	await cachedDirectory(join(root, "thing"), build);
	expect(builds).toBe(1);
	expect(await readFile(join(root, "thing/made"), "utf8")).toBe("yes");
	expect(recipeKey(["a"])).not.toBe(recipeKey(["b"]));
});

it("leaves nothing of a build that failed, and removes what a killed one left", async () => {
	// No process has this id: the kernel's highest is 2^22.
	await cachedDirectory(join(root, "thing.partial-99999999"), async () => {});
	const failing = cachedDirectory(join(root, "thing"), async (partial) => {
		await writeFile(join(partial, "half"), "");
		throw new Error("no space");
	});
	await expect(failing).rejects.toThrow("no space");
	expect(await readdir(root)).toEqual([]);
});
