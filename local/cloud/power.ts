import { join } from "node:path";
import { createClient } from "@scaleway/sdk-client";
import { Instancev1 } from "@scaleway/sdk-instance";
import { poll } from "../../process/poll.ts";
import { account, type LocalSettings, localSettings } from "../settings.ts";
import { cutPower as cutPowerOf } from "./host/power-cut.ts";

/**
 * Cuts the power of a running server of the local cloud, as no API can: nothing in it gets to say or write anything more,
 * and what its data volumes had not yet been sent is lost. Returns once the API says that the server is stopped in place.
 *
 * @param serverId with or without a zone before it
 */
export async function cutPower(serverId: string, settings = localSettings()): Promise<void> {
	const id = plain(serverId);
	const server = await servers(settings).getServer({ serverId: id });
	if (server.server?.state !== "running") {
		throw new Error(`server ${id} is ${server.server?.state ?? "not there"}: expected a running one to cut its power`);
	}
	await cutPowerOf({ prefix: "flathub-local", directory: join(settings.stateDir, "host"), imageDirectory: "" }, id);
	await reaches(id, "stopped in place", settings);
}

/** Powers a stopped server of the local cloud on, with the disks it had; returns once its init runs, not once it has booted. */
export async function powerOn(serverId: string, settings = localSettings()): Promise<void> {
	const id = plain(serverId);
	await servers(settings).serverAction({ serverId: id, action: "poweron" });
	await reaches(id, "running", settings);
}

const plain = (serverId: string) => serverId.split("/").at(-1) ?? serverId;

function servers({ apiUrl }: LocalSettings): Instancev1.API {
	return new Instancev1.API(
		createClient({
			apiURL: apiUrl,
			accessKey: account.accessKey,
			secretKey: account.secretKey,
			defaultProjectId: account.projectId,
			defaultZone: account.zone,
		}),
	);
}

async function reaches(id: string, state: "running" | "stopped in place", settings: LocalSettings): Promise<void> {
	await poll(
		`server ${id} to be ${state}`,
		120,
		async () => {
			const { server } = await servers(settings).getServer({ serverId: id });
			return server?.state === state || undefined;
		},
		0.2,
	);
}
