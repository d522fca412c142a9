import { existsSync, rmSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { createHypervisor } from "./host/hypervisor.ts";
import { lockHolder } from "./lock.ts";
import { readSettings } from "./settings.ts";

const stopTimeoutSeconds = 30;

/**
 * Takes the local cloud away: its daemon, its machines, everything on the host and the state directory. The cache
 * stays. Works on what a killed daemon or a killed `down` left, and again on nothing.
 */
async function main(): Promise<void> {
	if (process.platform !== "linux") throw new Error(`the local cloud needs Linux; this is ${process.platform}`);
	if (process.getuid?.() !== 0) throw new Error("taking the local cloud away needs root");
	const settings = readSettings(process.env);
	await stopDaemon(settings.stateDirectory);
	await createHypervisor({
		stateDirectory: settings.stateDirectory,
		cacheDirectory: settings.cacheDirectory,
		log: (line) => process.stdout.write(`${line}\n`),
	}).stop();
	if (existsSync(settings.stateDirectory)) rmSync(settings.stateDirectory, { recursive: true });
}

async function stopDaemon(stateDirectory: string): Promise<void> {
	const pid = lockHolder(stateDirectory);
	if (pid === undefined) return;
	process.kill(pid, "SIGTERM");
	const deadline = Date.now() + stopTimeoutSeconds * 1000;
	while (lockHolder(stateDirectory) === pid) {
		if (Date.now() > deadline) {
			process.stdout.write(`the daemon, process ${pid}, did not stop within ${stopTimeoutSeconds} s: killing it\n`);
			process.kill(pid, "SIGKILL");
			return;
		}
		await setTimeout(100);
	}
}

main().catch((error: unknown) => {
	process.stderr.write(`local cloud: ${error instanceof Error ? error.message : String(error)}\n`);
	process.exit(1);
});
