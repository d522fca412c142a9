import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { withLock } from "./lock.ts";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "lock-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("the lock", () => {
	test("lets one in at a time", async () => {
		const file = join(folder, "lock");
		const order: string[] = [];
		let release = (): void => {};
		const held = new Promise<void>((resolve) => {
			release = resolve;
		});
		const first = withLock(
			file,
			10,
			() => {},
			async () => {
				order.push("first in");
				await held;
				order.push("first out");
			},
		);
		await expect.poll(() => order).toEqual(["first in"]);
		let waits = false;
		const second = withLock(
			file,
			10,
			() => {
				waits = true;
			},
			async () => {
				order.push("second in");
			},
		);
		await expect.poll(() => waits, { timeout: 5000 }).toBe(true);
		release();
		await Promise.all([first, second]);
		expect(order).toEqual(["first in", "first out", "second in"]);
	});

	test("says who is in the way when it takes too long", async () => {
		const file = join(folder, "lock");
		await withLock(
			file,
			10,
			() => {},
			async () => {
				await expect(
					withLock(
						file,
						0,
						() => {},
						async () => {},
					),
				).rejects.toThrow("is held by another process");
			},
		);
	});

	test("does not outlive its process, however that ends", async () => {
		const file = join(folder, "lock");
		const program = `import { withLock } from ${JSON.stringify(join(import.meta.dirname, "lock.ts"))};
			await withLock(${JSON.stringify(file)}, 10, () => {}, async () => {
				console.log("held");
				await new Promise((resolve) => setTimeout(resolve, 60_000));
			});`;
		const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
			cwd: join(import.meta.dirname, ".."),
			stdio: ["ignore", "pipe", "inherit"],
		});
		await new Promise((resolve) => child.stdout.once("data", resolve));
		child.kill("SIGKILL");
		await expect(
			withLock(
				file,
				5,
				() => {},
				async () => "in",
			),
		).resolves.toBe("in");
	});

	test("is given back when the work fails", async () => {
		const file = join(folder, "lock");
		const failing = withLock(
			file,
			5,
			() => {},
			() => Promise.reject(new Error("no luck")),
		);
		await expect(failing).rejects.toThrow("no luck");
		const again = withLock(
			file,
			5,
			() => {},
			async () => "in",
		);
		await expect(again).resolves.toBe("in");
	});
});
