import { homedir } from "node:os";
import { join } from "node:path";

/** Who and what the local cloud is. Fixed, so that `Pulumi.local.yaml` can name it; none of it is worth stealing. */
export const account = {
	accessKey: "SCWLOCALLOCALLOCAL00",
	secretKey: "11111111-1111-4111-8111-111111111111",
	/** Also the organization's id. */
	projectId: "22222222-2222-4222-8222-222222222222",
	zone: "fr-par-1",
	region: "fr-par",
} as const;

export interface Settings {
	/** Survives reboots: the model, the log, root disks and volumes. */
	stateDirectory: string;
	/** Can be deleted at any time. */
	cacheDirectory: string;
	/** TCP port of the API on 127.0.0.1. */
	port: number;
}

/**
 * Reads FLATHUB_LOCAL_STATE (default /var/lib/flathub-local), FLATHUB_LOCAL_PORT (default 8041) and XDG_CACHE_HOME.
 *
 * @throws if the port is not a number from 1 to 65535.
 */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
	const port = Number(environment["FLATHUB_LOCAL_PORT"] || "8041");
	if (!Number.isInteger(port) || port < 1 || port > 65535) {
		throw new Error(`FLATHUB_LOCAL_PORT is "${environment["FLATHUB_LOCAL_PORT"]}", expected a port from 1 to 65535`);
	}
	return {
		stateDirectory: environment["FLATHUB_LOCAL_STATE"] || "/var/lib/flathub-local",
		cacheDirectory: join(environment["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "flathub-infrastructure"),
		port,
	};
}
