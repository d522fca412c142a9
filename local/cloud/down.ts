import { existsSync, rmSync } from "node:fs";
import { poll } from "../../process/poll.ts";
import { localSettings } from "../settings.ts";
import { createHypervisor } from "./host/hypervisor.ts";
import { lockHolder } from "./lock.ts";

const stopTimeoutSeconds = 30;

/**
 * Takes the local cloud away: its daemon, its machines, everything on the host and the state directory. The cache
 * stays. Works on what a killed daemon or a killed `down` left, and again on nothing.
 */
async function main(): Promise<void> {
	if (process.platform !== "linux") throw new Error(`the local cloud needs Linux; this is ${process.platform}`);
	if (process.getuid?.() !== 0) throw new Error("taking the local cloud away needs root");
	const settings = localSettings();
	await stopDaemon(settings.stateDir);
	await createHypervisor({
		stateDirectory: settings.stateDir,
		cacheDirectory: settings.cacheDir,
		log: (line) => process.stdout.write(`${line}\n`),
	}).stop();
	if (existsSync(settings.stateDir)) rmSync(settings.stateDir, { recursive: true });
}

async function stopDaemon(stateDirectory: string): Promise<void> {
	const pid = lockHolder(stateDirectory);
	if (pid === undefined) return;
	process.kill(pid, "SIGTERM");
	try {
		await poll("its end", stopTimeoutSeconds, () => lockHolder(stateDirectory) !== pid || undefined, 0.1);
	} catch {
		process.stdout.write(`the daemon, process ${pid}, did not stop within ${stopTimeoutSeconds} s: killing it\n`);
		process.kill(pid, "SIGKILL");
	}
}

main().catch((error: unknown) => {
	process.stderr.write(`local cloud: ${error instanceof Error ? error.message : String(error)}\n`);
	process.exit(1);
});
