import { spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { projectDir } from "../operations/stack.ts";
import { poll } from "./poll.ts";
import type { LocalSettings } from "./settings.ts";

/** Starts the local cloud's daemon if it does not answer yet; returns when its API is healthy. Its log is cloud.log in the state folder. */
export async function startCloud(settings: LocalSettings): Promise<void> {
	if (await healthy(settings)) return;
	mkdirSync(settings.stateDir, { recursive: true, mode: 0o700 });
	const output = join(settings.stateDir, "cloud-output.log");
	const fd = openSync(output, "w");
	const daemon = spawn(process.execPath, ["--import", "tsx", "local/cloud/daemon.ts"], {
		cwd: projectDir,
		detached: true,
		stdio: ["ignore", fd, fd],
	});
	daemon.unref();
	await poll("the local cloud's API", 600, async () => {
		if (await healthy(settings)) return true;
		if (daemon.exitCode !== null || daemon.signalCode !== null) return false;
		return undefined;
	}).then((started) => {
		if (!started) throw new Error(`The local cloud did not start:\n${readFileSync(output, "utf8").trimEnd()}`);
	});
}

async function healthy({ apiUrl }: LocalSettings): Promise<boolean> {
	try {
		const response = await fetch(`${apiUrl}/health`, { signal: AbortSignal.timeout(2000) });
		return response.ok;
	} catch {
		return false;
	}
}

/** Ends the daemon and takes everything it made off the host; nothing to do is success. */
export async function stopCloud(settings: LocalSettings): Promise<void> {
	await execa(process.execPath, ["--import", "tsx", "local/cloud/down.ts"], { cwd: projectDir });
	if (existsSync(settings.stateDir) && (await healthy(settings))) {
		throw new Error(`The local cloud still answers at ${settings.apiUrl} after it was stopped.`);
	}
}
