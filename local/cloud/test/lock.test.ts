import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { lockHolder, takeLock } from "../lock.ts";

let directory: string;
beforeEach(() => {
	directory = mkdtempSync(join(tmpdir(), "t-cloud-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

it("is held by one process, which the refusal names, and can be given back", () => {
	const unlock = takeLock(directory);
	expect(lockHolder(directory)).toBe(process.pid);
	expect(() => takeLock(directory)).toThrow(`process ${process.pid}`);
	unlock();
	expect(lockHolder(directory)).toBeUndefined();
	takeLock(directory)();
	expect(readdirSync(directory)).toEqual([]);
});

it("is taken over from a process that is gone, also if its number is in use again", () => {
	writeFileSync(join(directory, "cloud.pid"), "1 99999999999\n");
	expect(lockHolder(directory)).toBeUndefined();
	takeLock(directory)();
	writeFileSync(join(directory, "cloud.pid"), "");
	takeLock(directory)();
});
