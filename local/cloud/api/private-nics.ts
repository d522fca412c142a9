import { z } from "zod";
import { account } from "../../settings.ts";
import type { Cloud } from "../cloud.ts";
import type { IpamIp, PrivateNic, Server } from "../state.ts";
import { sendNothing, sendPage } from "./answers.ts";
import { find, invalidArgument, notFound, preconditionFailed } from "./errors.ts";
import { allocateIpv4, allocateIpv6 } from "./ipam.ts";
import { commaTags, hasTags, perPageQuery } from "./paging.ts";
import { type Api, byIdInZone, changedTags, id, newObject, tags } from "./route.ts";
import { instanceDate } from "./timestamps.ts";

const base = "/instance/v1/zones/:zone/servers/:id/private_nics";
const byNic = z.strictObject({ ...byIdInZone.shape, nicId: z.string() });
const mostNics = 8;

/** Private NICs: a server's places on private networks. */
export function registerPrivateNics(api: Api, cloud: Cloud): void {
	const { servers, privateNics, privateNetworks, ipamIps } = cloud.state;

	const findNic = (server: Server, nicId: string): PrivateNic => {
		const nic = find(privateNics, nicId, "instance_private_nic");
		if (nic.serverId !== server.id) throw notFound("instance_private_nic", nicId);
		return nic;
	};

	api.post(
		base,
		{
			schema: {
				params: byIdInZone,
				body: z.strictObject({
					private_network_id: id,
					tags,
					ipam_ip_ids: z.array(id).optional(),
				}),
			},
		},
		async ({ params, body }, reply) => {
			const server = find(servers, params.id, "instance_server");
			const network = find(privateNetworks, body.private_network_id, "private_network");
			const siblings = cloud.nicsOf(server);
			if (siblings.some((nic) => nic.privateNetworkId === network.id)) {
				throw preconditionFailed(400, "resource_still_in_use", `${server.name} is on ${network.name} already`);
			}
			if (siblings.length >= mostNics) {
				throw preconditionFailed(400, "quotas_exceeded", `a server has at most ${mostNics} private NICs`);
			}
			const booked = (body.ipam_ip_ids ?? []).map((ipId, index): IpamIp => {
				const ip = find(ipamIps, ipId, "ip");
				if (ip.privateNetworkId !== network.id) {
					throw invalidArgument(`ipam_ip_ids.${index}`, `${ip.address} is not of private network ${network.name}`);
				}
				if (ip.nicId !== null) {
					throw preconditionFailed(400, "resource_still_in_use", `${ip.address} is attached to NIC ${ip.nicId}`);
				}
				return ip;
			});
			if (booked.length > 1) throw invalidArgument("ipam_ip_ids", "the local cloud takes one IPv4 address a NIC");
			const ipv4 = booked[0] ?? allocateIpv4(cloud, network);
			const ips = [ipv4, allocateIpv6(cloud, network)].filter((ip) => ip !== undefined);
			const nic: PrivateNic = {
				...newObject(cloud.now()),
				serverId: server.id,
				privateNetworkId: network.id,
				macAddress: cloud.newMacAddress("02:00:00"),
				state: "syncing",
				tags: body.tags,
				ipamIpIds: ips.map((ip) => ip.id),
			};
			for (const ip of ips) ip.nicId = nic.id;
			privateNics[nic.id] = nic;
			cloud.attachNic(server, nic);
			return reply.code(201).send({ private_nic: present(nic) });
		},
	);

	api.get(
		base,
		{
			schema: {
				params: byIdInZone,
				querystring: z.strictObject({ ...perPageQuery, tags: commaTags }),
			},
		},
		async ({ params, query }, reply) => {
			const found = cloud.nicsOf(find(servers, params.id, "instance_server")).filter((nic) => hasTags(nic, query.tags));
			return sendPage(reply, "private_nics", found.map(present), query);
		},
	);

	api.get(`${base}/:nicId`, { schema: { params: byNic } }, async ({ params }) => ({
		private_nic: present(findNic(find(servers, params.id, "instance_server"), params.nicId)),
	}));

	api.patch(
		`${base}/:nicId`,
		{ schema: { params: byNic, body: z.strictObject({ tags: changedTags }) } },
		async ({ params, body }) => {
			const nic = findNic(find(servers, params.id, "instance_server"), params.nicId);
			nic.tags = body.tags ?? nic.tags;
			nic.updatedAt = cloud.now();
			cloud.save();
			return { private_nic: present(nic) };
		},
	);

	api.delete(`${base}/:nicId`, { schema: { params: byNic } }, async ({ params }, reply) => {
		const server = find(servers, params.id, "instance_server");
		await cloud.detachNic(server, findNic(server, params.nicId));
		return sendNothing(reply);
	});
}

export function present(nic: PrivateNic): Record<string, unknown> {
	return {
		id: nic.id,
		private_network_id: nic.privateNetworkId,
		server_id: nic.serverId,
		mac_address: nic.macAddress,
		state: nic.state,
		creation_date: instanceDate(nic.createdAt),
		modification_date: instanceDate(nic.updatedAt),
		zone: account.zone,
		tags: nic.tags,
		ipam_ip_ids: nic.ipamIpIds,
	};
}
