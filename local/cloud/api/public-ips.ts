import { randomUUID } from "node:crypto";
import { z } from "zod";
import { account } from "../../settings.ts";
import { formatIpv4, parseIpv4 } from "../addresses.ts";
import type { Cloud } from "../cloud.ts";
import { dataCentre } from "../hypervisor.ts";
import type { PublicIp, Server } from "../state.ts";
import { sendCreated, sendNothing, sendPage } from "./answers.ts";
import { ApiError, find, preconditionFailed } from "./errors.ts";
import { hasTags, instanceListQuery } from "./paging.ts";
import { type Api, byIdInZone, changedTags, id, inZone, project, tags } from "./route.ts";

const base = "/instance/v1/zones/:zone/ips";

export function registerPublicIps(api: Api, cloud: Cloud): void {
	const { publicIps, servers } = cloud.state;

	const present = (ip: PublicIp) => {
		const server = ip.serverId === null ? undefined : servers[ip.serverId];
		return {
			id: ip.id,
			address: ip.address,
			prefix: null,
			reverse: null,
			server: server ? { id: server.id, name: server.name } : null,
			organization: account.projectId,
			project: account.projectId,
			zone: account.zone,
			type: "routed_ipv4",
			state: server ? "attached" : "detached",
			tags: ip.tags,
			ipam_id: ip.id,
		};
	};

	api.post(
		base,
		{
			schema: {
				params: inZone,
				body: z.strictObject({
					project: project.optional(),
					organization: project.optional(),
					type: z.literal("routed_ipv4", { error: "the local cloud has only routed_ipv4 addresses" }).optional(),
					tags,
				}),
			},
		},
		async ({ body }, reply) => {
			const ip: PublicIp = { id: randomUUID(), address: nextAddress(publicIps), tags: body.tags, serverId: null };
			publicIps[ip.id] = ip;
			cloud.save();
			return sendCreated(reply, "ips", "ip", present(ip));
		},
	);

	api.get(
		base,
		{
			schema: {
				params: inZone,
				querystring: z.strictObject({
					...instanceListQuery,
					type: z.string().optional(),
				}),
			},
		},
		async ({ query }, reply) => {
			const found = Object.values(publicIps).filter(
				(ip) =>
					hasTags(ip, query.tags) &&
					(query.name === undefined || ip.address.includes(query.name)) &&
					(query.type === undefined || query.type === "routed_ipv4"),
			);
			return sendPage(reply, "ips", found.map(present), query);
		},
	);

	/** Scaleway takes the address itself in place of the id as well. */
	const byIdOrAddress = (text: string) =>
		Object.values(publicIps).find((ip) => ip.address === text) ?? find(publicIps, text, "instance_ip");

	api.get(`${base}/:id`, { schema: { params: byIdInZone } }, async ({ params }) => ({
		ip: present(byIdOrAddress(params.id)),
	}));

	api.patch(
		`${base}/:id`,
		{
			schema: {
				params: byIdInZone,
				body: z.strictObject({
					server: id.nullish(),
					tags: changedTags,
					reverse: z.null({ error: "the local cloud has no reverse DNS" }).optional(),
				}),
			},
		},
		async ({ params, body }) => {
			const ip = byIdOrAddress(params.id);
			if (body.server !== undefined && body.server !== ip.serverId) {
				const server = body.server === null ? undefined : find(servers, body.server, "instance_server");
				if (server) assertCanAttach(server, ip);
				await detachPublicIp(cloud, ip);
				if (server) attachPublicIp(server, ip);
			}
			ip.tags = body.tags ?? ip.tags;
			cloud.save();
			return { ip: present(ip) };
		},
	);

	api.delete(`${base}/:id`, { schema: { params: byIdInZone } }, async ({ params }, reply) => {
		const ip = byIdOrAddress(params.id);
		await detachPublicIp(cloud, ip);
		delete publicIps[ip.id];
		cloud.save();
		return sendNothing(reply);
	});
}

/** A public address as the server that has it shows it; the first one is the NIC's. */
export function presentOnServer(ip: PublicIp, index: number): Record<string, unknown> {
	return {
		id: ip.id,
		address: ip.address,
		dynamic: false,
		gateway: dataCentre.publicGateway,
		netmask: String(dataCentre.publicPrefixLength),
		family: "inet",
		provisioning_mode: index === 0 ? "dhcp" : "manual",
		tags: ip.tags,
	};
}

/** A machine's public NIC is made when it is powered on. */
export function assertCanAttach(server: Server, ip: PublicIp): void {
	if (server.state !== "stopped" && server.state !== "stopped in place") {
		throw preconditionFailed(
			400,
			"resource_still_in_use",
			`the local cloud attaches a public address only to a server that is powered off; ${server.name} is ${server.state}`,
		);
	}
	if (ip.serverId !== null && ip.serverId !== server.id) {
		throw preconditionFailed(400, "resource_still_in_use", `${ip.address} is attached to server ${ip.serverId}`);
	}
}

export function attachPublicIp(server: Server, ip: PublicIp): void {
	ip.serverId = server.id;
	server.publicIpIds = [...server.publicIpIds.filter((each) => each !== ip.id), ip.id];
}

export async function detachPublicIp(cloud: Cloud, ip: PublicIp): Promise<void> {
	const server = ip.serverId === null ? undefined : cloud.state.servers[ip.serverId];
	ip.serverId = null;
	if (!server) return;
	server.publicIpIds = server.publicIpIds.filter((each) => each !== ip.id);
	await cloud.cutOff(server, ip.address);
}

function nextAddress(publicIps: Record<string, PublicIp>): string {
	const taken = new Set(Object.values(publicIps).map((ip) => ip.address));
	const first = parseIpv4(dataCentre.firstPublicAddress) as number;
	const last = parseIpv4(dataCentre.lastPublicAddress) as number;
	for (let value = first; value <= last; value++) {
		const address = formatIpv4(value);
		if (!taken.has(address)) return address;
	}
	throw new ApiError(403, {
		type: "quotas_exceeded",
		message: `no public address is left of ${dataCentre.firstPublicAddress} to ${dataCentre.lastPublicAddress}`,
		details: [{ resource: "instance_ip", quota: last - first + 1, current: taken.size }],
	});
}
