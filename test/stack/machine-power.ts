import * as cloud from "../../local/cloud/power.ts";
import type { Flathub } from "./flathub.ts";

/** Cuts the power of a machine, in the data centre or outside it: nothing in it gets to write anything more. */
export async function cutPower({ outputs, world }: Flathub, machine: string): Promise<void> {
	const server = outputs.machines[machine];
	if (server) await cloud.cutPower(server.serverId);
	else await world.remoteHosts.cutPower(machine);
}

/** Starts a machine with the disks that it had. */
export async function powerOn({ outputs, world }: Flathub, machine: string): Promise<void> {
	const server = outputs.machines[machine];
	if (server) await cloud.powerOn(server.serverId);
	else await world.remoteHosts.powerOn(machine);
}
