import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it } from "vitest";
import { endProcesses, isAlive, startTime, stillRuns } from "./identity.ts";

it("tells a process from a later one with the same id", () => {
	const time = startTime(process.pid);
	expect(time).toMatch(/^\d+$/);
	expect(stillRuns({ pid: process.pid, startTime: String(time) })).toBe(true);
	expect(stillRuns({ pid: process.pid, startTime: `${time}0` })).toBe(false);
	// The kernel's highest process id is 2^22.
	expect(isAlive(99_999_999)).toBe(false);
});

it("ends processes, those that do not listen too", async () => {
	const deaf = spawn("sh", ["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], {
		stdio: ["ignore", "pipe", "ignore"],
	});
	const polite = spawn("sleep", ["60"]);
	await once(deaf.stdout, "data");
	const pids = [deaf.pid as number, polite.pid as number];
	await endProcesses(pids, 0.5);
	expect(pids.map(isAlive)).toEqual([false, false]);
});
