import { appendFileSync, chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { localSettings } from "../settings.ts";
import { createApi } from "./api/app.ts";
import { createMetadataService } from "./api/metadata.ts";
import { Cloud } from "./cloud.ts";
import { createHypervisor } from "./host/hypervisor.ts";
import { dataCentre } from "./hypervisor.ts";
import { takeLock } from "./lock.ts";
import { loadState, saveState } from "./state.ts";

/**
 * The local cloud: `node --import tsx local/cloud/daemon.ts`. Runs until SIGTERM or SIGINT, which leave the machines
 * running; the next daemon adopts them. `down.ts` is what takes everything away.
 */
async function main(): Promise<void> {
	if (process.platform !== "linux") throw new Error(`the local cloud needs Linux; this is ${process.platform}`);
	if (process.getuid?.() !== 0) throw new Error("the local cloud needs root: it makes machines and networks");
	const settings = localSettings();
	mkdirSync(settings.stateDir, { recursive: true });
	chmodSync(settings.stateDir, 0o700);
	mkdirSync(settings.cacheDir, { recursive: true });
	const unlock = takeLock(settings.stateDir);
	const logPath = join(settings.stateDir, "cloud.log");
	const log = (line: string) =>
		appendFileSync(logPath, `${new Date().toISOString()} ${line.replaceAll("\n", "\n\t")}\n`, { mode: 0o600 });

	try {
		const hypervisor = createHypervisor({
			stateDirectory: settings.stateDir,
			cacheDirectory: settings.cacheDir,
			log,
		});
		const cloud = new Cloud({
			state: loadState(settings.stateDir),
			hypervisor,
			save: (state) => saveState(settings.stateDir, state),
			log,
		});
		const api = createApi(cloud, log);
		const metadata = createMetadataService(cloud.state, log);
		// The port first: who has it taken is found out before anything is made on the host.
		await listening(`the API's port ${settings.apiPort}`, () =>
			api.listen({ host: "127.0.0.1", port: settings.apiPort }),
		);
		await hypervisor.start();
		await listening(
			"the metadata service's port",
			() =>
				new Promise<void>((resolve, reject) => {
					metadata.once("error", reject);
					metadata.listen(dataCentre.metadataPort, dataCentre.metadataListenAddress, resolve);
				}),
		);
		cloud.resume();
		log(`serving on 127.0.0.1:${settings.apiPort}, process ${process.pid}`);

		const stop = async () => {
			log("stopping; machines go on");
			metadata.close();
			metadata.closeAllConnections();
			await api.close();
			cloud.save();
			unlock();
			process.exit(0);
		};
		process.once("SIGTERM", () => void stop());
		process.once("SIGINT", () => void stop());
	} catch (error) {
		log(`failed to start: ${(error as Error).stack}`);
		unlock();
		throw error;
	}
}

async function listening(what: string, listen: () => Promise<unknown>): Promise<void> {
	try {
		await listen();
	} catch (error) {
		const code = (error as NodeJS.ErrnoException).code;
		if (code === "EADDRINUSE") {
			throw new Error(`${what} is taken by another process; stop it, or choose another with FLATHUB_LOCAL_PORT`);
		}
		throw new Error(`${what} can't be opened: ${(error as Error).message}`);
	}
}

main().catch((error: unknown) => {
	process.stderr.write(`local cloud: ${error instanceof Error ? error.message : String(error)}\n`);
	process.exit(1);
});
