import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { localSettings } from "../../settings.ts";
import { takeLock } from "../lock.ts";

const daemon = fileURLToPath(new URL("../daemon.ts", import.meta.url));
const isRoot = process.getuid?.() === 0;
let directory: string;
beforeEach(() => {
	directory = mkdtempSync(join(tmpdir(), "t-cloud-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function run(environment: Record<string, string>, uid?: number) {
	const result = spawnSync(process.execPath, ["--import", "tsx", daemon], {
		env: { ...process.env, FLATHUB_LOCAL_STATE: directory, XDG_CACHE_HOME: directory, ...environment },
		encoding: "utf8",
		timeout: 15_000,
		...(uid === undefined ? {} : { uid }),
	});
	return { status: result.status, stderr: result.stderr };
}

describe.skipIf(!isRoot)("the daemon, before it touches the host", () => {
	it("says that it needs root", () => {
		const { status, stderr } = run({}, 65534);
		expect([status, stderr]).toEqual([1, "local cloud: the local cloud needs root: it makes machines and networks\n"]);
	});

	it("says which process holds the state directory", () => {
		const unlock = takeLock(directory);
		const { status, stderr } = run({ FLATHUB_LOCAL_PORT: "1" });
		unlock();
		expect(status).toBe(1);
		expect(stderr).toContain(`the local cloud runs already as process ${process.pid}`);
		expect(stderr.trim().split("\n")).toHaveLength(1);
	});

	it("says which port is taken, and leaves no lock behind", async () => {
		const other = createServer();
		await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
		const { port } = other.address() as AddressInfo;
		const first = run({ FLATHUB_LOCAL_PORT: String(port) });
		other.close();
		expect(first.status).toBe(1);
		expect(first.stderr).toBe(
			`local cloud: the API's port ${port} is taken by another process; stop it, or choose another with FLATHUB_LOCAL_PORT\n`,
		);
		takeLock(directory)();
	});

	it("says that its state can't be understood", () => {
		writeFileSync(join(directory, "cloud.json"), "{}");
		const { status, stderr } = run({ FLATHUB_LOCAL_PORT: "1" });
		expect(status).toBe(1);
		expect(stderr).toContain(`the local cloud's state ${join(directory, "cloud.json")} can't be understood`);
	});
});

it("settings name a port that is none", () => {
	expect(() => localSettings({ FLATHUB_LOCAL_PORT: "http" })).toThrow('FLATHUB_LOCAL_PORT is "http"');
	expect(localSettings({}).apiPort).toBe(8041);
});
