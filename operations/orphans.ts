import { Blockv1 } from "@scaleway/sdk-block";
import { createClient } from "@scaleway/sdk-client";
import { Instancev1 } from "@scaleway/sdk-instance";
import { Ipamv1 } from "@scaleway/sdk-ipam";
import { Vpcv2 } from "@scaleway/sdk-vpc";

/** Where the stack's resources are, and who may see them. */
export interface Account {
	apiUrl: string;
	accessKey: string;
	secretKey: string;
	projectId: string;
	/** For example `fr-par-1`; its region is what stands before the last hyphen. */
	zone: string;
}

/** Something at Scaleway that carries the stack's tag, and that the stack's state does not know. */
export interface Orphan {
	kind: string;
	name: string;
	id: string;
	remove(): Promise<unknown>;
}

/**
 * Finds what a killed deployment made and did not record, in the order in which it can be removed.
 * @param recorded the ids in the stack's state, as the provider writes them (`zone/uuid`, or `zone/uuid/uuid`)
 */
export async function findOrphans(account: Account, stack: string, recorded: Iterable<string>): Promise<Orphan[]> {
	const zone = account.zone;
	const client = createClient({
		apiURL: account.apiUrl,
		accessKey: account.accessKey,
		secretKey: account.secretKey,
		defaultProjectId: account.projectId,
		defaultZone: zone,
		defaultRegion: account.zone.replace(/-\d+$/, ""),
	});
	const instance = new Instancev1.API(client);
	const block = new Blockv1.API(client);
	const vpc = new Vpcv2.API(client);
	const ipam = new Ipamv1.API(client);

	const known = new Set([...recorded].map((id) => id.split("/").at(-1)));
	const tag = `stack=${stack}`;
	const unknown = <T extends { id: string; tags: string[] }>(resources: T[]): T[] =>
		resources.filter(({ id, tags }) => tags.includes(tag) && !known.has(id));

	const allServers = await instance.listServers({}).all();
	const servers = unknown(allServers);
	// Those of a server that goes go with it.
	const staying = allServers.filter(({ id, tags }) => tags.includes(tag) && known.has(id));
	const nics = await Promise.all(
		staying.map(async ({ id: serverId, name }) =>
			unknown(await instance.listPrivateNICs({ serverId }).all()).map(({ id }) => ({ id, serverId, name })),
		),
	);
	const volumes = unknown(await block.listVolumes({ includeDeleted: false }).all());
	const publicIps = unknown(await instance.listIps().all());
	const groups = unknown(await instance.listSecurityGroups({}).all());
	const addresses = unknown(await ipam.listIPs().all());
	const networks = unknown(await vpc.listPrivateNetworks().all());
	const vpcs = unknown(await vpc.listVPCs().all());

	const orphan = (kind: string, id: string, name: string, remove: Orphan["remove"]): Orphan => ({
		kind,
		id,
		name,
		remove,
	});
	return [
		...nics
			.flat()
			.map(({ id, serverId, name }) =>
				orphan("private NIC of", id, name, () => instance.deletePrivateNIC({ serverId, privateNicId: id })),
			),
		...servers.map(({ id, name }) =>
			orphan("server", id, name, async () => {
				const { state, volumes } = await instance.waitForServer({ serverId: id });
				if (state === "running") await instance.serverActionAndWait({ serverId: id, action: "poweroff" });
				await instance.deleteServer({ serverId: id });
				// The root volume carries no tag; nobody but its server knows it.
				const root = volumes["0"];
				if (root !== undefined) await removeVolume(block, root.id);
			}),
		),
		...volumes.map(({ id, name }) => orphan("volume", id, name, () => removeVolume(block, id))),
		...publicIps.map(({ id, address }) => orphan("public address", id, address, () => instance.deleteIp({ ip: id }))),
		...groups.map(({ id, name }) =>
			orphan("security group", id, name, () => instance.deleteSecurityGroup({ securityGroupId: id })),
		),
		...addresses.map(({ id, address }) => orphan("private address", id, address, () => ipam.releaseIP({ ipId: id }))),
		...networks.map(({ id, name }) =>
			orphan("private network", id, name, () => vpc.deletePrivateNetwork({ privateNetworkId: id })),
		),
		...vpcs.map(({ id, name }) => orphan("VPC", id, name, () => vpc.deleteVPC({ vpcId: id }))),
	];
}

/** Deletes a volume once nothing is under way with it. */
async function removeVolume(block: Blockv1.API, volumeId: string): Promise<void> {
	await block.waitForVolume({ volumeId });
	await block.deleteVolume({ volumeId });
}
