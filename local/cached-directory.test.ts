import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { cachedDirectory, recipeKey } from "./cached-directory.ts";

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
	await mkdir(join(root, "thing.building"));
	await writeFile(join(root, "thing.building", "old"), "");
	const failing = cachedDirectory(join(root, "thing"), async (partial) => {
		expect(await readdir(partial)).toEqual([]);
		await writeFile(join(partial, "half"), "");
		throw new Error("no space");
	});
	await expect(failing).rejects.toThrow("no space");
	expect(await readdir(root)).toEqual([".lock"]);
});

it("is built by one of two that want it at once", async () => {
	const building: string[] = [];
	const build = (name: string) => async (partial: string) => {
		building.push(name);
		await writeFile(join(partial, "made"), name);
	};
	await Promise.all(["a", "b"].map((name) => cachedDirectory(join(root, "thing"), build(name))));
	expect(building).toEqual([await readFile(join(root, "thing/made"), "utf8")]);
});
