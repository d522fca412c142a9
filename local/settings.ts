import { homedir } from "node:os";
import { join } from "node:path";

/** Where the local Flathub lives on the host. */
export interface LocalSettings {
	/** Everything that belongs to the running local Flathub: survives reboots, gone after `scripts/down local`. */
	stateDir: string;
	/** What may be kept between runs, and deleted at any time: the engine, the image, the runtimes. */
	cacheDir: string;
	/** TCP port of the Scaleway-compatible API on loopback. */
	apiPort: number;
	apiUrl: string;
}

/**
 * Reads FLATHUB_LOCAL_STATE (default /var/lib/flathub-local), FLATHUB_LOCAL_PORT (default 8041) and XDG_CACHE_HOME.
 *
 * @throws if the port is not a number from 1 to 65535.
 */
export function localSettings(env: NodeJS.ProcessEnv = process.env): LocalSettings {
	const port = env.FLATHUB_LOCAL_PORT || "8041";
	if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535) {
		throw new Error(`FLATHUB_LOCAL_PORT is ${JSON.stringify(port)}; expected a TCP port, 1 to 65535.`);
	}
	return {
		stateDir: env.FLATHUB_LOCAL_STATE || "/var/lib/flathub-local",
		cacheDir: join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "flathub-infrastructure"),
		apiPort: Number(port),
		apiUrl: `http://127.0.0.1:${Number(port)}`,
	};
}

/**
 * The only account that the local cloud knows. Fixed, so that `Pulumi.local.yaml` can name it; no secret: it opens nothing
 * but loopback.
 */
export const account = {
	accessKey: "SCWLOCALLOCALLOCAL00",
	secretKey: "11111111-1111-4111-8111-111111111111",
	/** Also the organization's id. */
	projectId: "22222222-2222-4222-8222-222222222222",
	zone: "fr-par-1",
	region: "fr-par",
} as const;
