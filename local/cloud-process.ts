import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { startDetached } from "../process/detached.ts";
import { poll } from "../process/poll.ts";
import { run } from "../process/run.ts";
import { projectDir } from "../project-dir.ts";
import type { LocalSettings } from "./settings.ts";

/** Starts the local cloud's daemon if it does not answer yet; returns when its API is healthy. Its log is cloud.log in the state folder. */
export async function startCloud(settings: LocalSettings): Promise<void> {
	if (await healthy(settings)) return;
	const log = join(settings.stateDir, "cloud-output.log");
	const daemon = await startDetached([process.execPath, "--import", "tsx", "local/cloud/daemon.ts"], {
		cwd: projectDir,
		log,
	});
	const started = await poll("the local cloud's API", 600, async () => {
		if (await healthy(settings)) return true;
		return daemon.ended() ? false : undefined;
	});
	if (!started) throw new Error(`The local cloud did not start:\n${readFileSync(log, "utf8").trimEnd()}`);
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
	await run([process.execPath, "--import", "tsx", "local/cloud/down.ts"], { cwd: projectDir });
	if (existsSync(settings.stateDir) && (await healthy(settings))) {
		throw new Error(`The local cloud still answers at ${settings.apiUrl} after it was stopped.`);
	}
}
