import { randomBytes } from "node:crypto";
import { z } from "zod";
import { account } from "../../settings.ts";
import { firstFree, formatIpv4, isUsable, parseIpv4, parseSubnet } from "../addresses.ts";
import type { Cloud } from "../cloud.ts";
import type { IpamIp, PrivateNetwork } from "../state.ts";
import { pageAnswer, sendNothing } from "./answers.ts";
import { ApiError, find, invalidArgument, preconditionFailed } from "./errors.ts";
import { hasTags, listQuery, order, ordered, repeatedTags } from "./paging.ts";
import { type Api, byIdInRegion, changedTags, id, inRegion, newObject, project, tags } from "./route.ts";
import { date } from "./timestamps.ts";
import { ipv4Subnet } from "./vpc.ts";

export function registerIpam(api: Api, cloud: Cloud): void {
	const { ipamIps, privateNics, servers, privateNetworks } = cloud.state;

	const present = (ip: IpamIp) => {
		const nic = ip.nicId === null ? undefined : privateNics[ip.nicId];
		return {
			id: ip.id,
			address: ip.address,
			project_id: account.projectId,
			is_ipv6: ip.isIpv6,
			created_at: date(ip.createdAt),
			updated_at: date(ip.updatedAt),
			source: { subnet_id: ip.subnetId },
			resource: nic
				? {
						type: "instance_private_nic",
						id: nic.id,
						mac_address: nic.macAddress.toUpperCase(),
						name: servers[nic.serverId]?.name ?? null,
					}
				: null,
			tags: ip.tags,
			reverses: [],
			region: account.region,
			zone: null,
		};
	};

	api.post(
		"/ipam/v1/regions/:region/ips",
		{
			schema: {
				params: inRegion,
				body: z.strictObject({
					project_id: project,
					source: z
						.strictObject({ private_network_id: id.optional(), subnet_id: id.optional() })
						.refine((source) => (source.private_network_id === undefined) !== (source.subnet_id === undefined), {
							error: "expected either private_network_id or subnet_id",
						}),
					is_ipv6: z.literal(false, { error: "the local cloud books IPv4 addresses only" }).default(false),
					address: z.string().nullish(),
					tags,
				}),
			},
		},
		async ({ body }) => {
			const { private_network_id: networkId, subnet_id: subnetId } = body.source;
			const network =
				networkId === undefined
					? Object.values(privateNetworks).find((each) => each.subnets.some((subnet) => subnet.id === subnetId))
					: find(privateNetworks, networkId, "private_network");
			if (!network) throw invalidArgument("source.subnet_id", `there is no subnet ${subnetId}`);
			const ip = allocateIpv4(cloud, network, body.address ?? undefined);
			ip.isBooked = true;
			ip.tags = body.tags;
			cloud.save();
			return present(ip);
		},
	);

	api.get(
		"/ipam/v1/regions/:region/ips",
		{
			schema: {
				params: inRegion,
				querystring: z.strictObject({
					...listQuery,
					order_by: order.default("created_at_desc"),
					private_network_id: z.string().optional(),
					subnet_id: z.string().optional(),
					vpc_id: z.string().optional(),
					resource_id: z.string().optional(),
					resource_type: z.string().optional(),
					is_ipv6: z.stringbool().optional(),
					attached: z.stringbool().optional(),
					mac_address: z.string().optional(),
					tags: repeatedTags,
				}),
			},
		},
		async ({ query }) => {
			const isWanted = (ip: IpamIp) =>
				(query.private_network_id === undefined || ip.privateNetworkId === query.private_network_id) &&
				(query.subnet_id === undefined || ip.subnetId === query.subnet_id) &&
				(query.vpc_id === undefined || privateNetworks[ip.privateNetworkId]?.vpcId === query.vpc_id) &&
				(query.resource_id === undefined || ip.nicId === query.resource_id) &&
				(query.resource_type === undefined ||
					query.resource_type === "unknown_type" ||
					(query.resource_type === "instance_private_nic" && ip.nicId !== null)) &&
				(query.is_ipv6 === undefined || ip.isIpv6 === query.is_ipv6) &&
				(query.attached === undefined || (ip.nicId !== null) === query.attached) &&
				(query.mac_address === undefined ||
					privateNics[ip.nicId ?? ""]?.macAddress === query.mac_address.toLowerCase()) &&
				hasTags(ip, query.tags);
			const found = ordered(Object.values(ipamIps), query.order_by).filter(isWanted);
			return pageAnswer("ips", found, query, present);
		},
	);

	api.get("/ipam/v1/regions/:region/ips/:id", { schema: { params: byIdInRegion } }, async ({ params }) =>
		present(find(ipamIps, params.id, "ip")),
	);

	api.patch(
		"/ipam/v1/regions/:region/ips/:id",
		{ schema: { params: byIdInRegion, body: z.strictObject({ tags: changedTags }) } },
		async ({ params, body }) => {
			const ip = find(ipamIps, params.id, "ip");
			ip.tags = body.tags ?? ip.tags;
			ip.updatedAt = cloud.now();
			cloud.save();
			return present(ip);
		},
	);

	api.delete("/ipam/v1/regions/:region/ips/:id", { schema: { params: byIdInRegion } }, async ({ params }, reply) => {
		const ip = find(ipamIps, params.id, "ip");
		if (ip.nicId !== null) throw preconditionFailed(412, "resource_still_in_use", `attached to NIC ${ip.nicId}`);
		delete ipamIps[ip.id];
		cloud.save();
		return sendNothing(reply);
	});
}

/**
 * Takes an IPv4 address of the network, `wanted` (without prefix length) or the lowest free one. It is not booked:
 * the caller says whether it outlives its NIC.
 */
export function allocateIpv4(cloud: Cloud, network: PrivateNetwork, wanted?: string): IpamIp {
	const subnet = ipv4Subnet(network);
	const block = parseSubnet(subnet.cidr);
	if (!block) throw new Error(`private network ${network.name} has a broken subnet ${subnet.cidr}`);
	const taken = new Set(
		Object.values(cloud.state.ipamIps)
			.filter((ip) => ip.subnetId === subnet.id)
			.map((ip) => parseIpv4(ip.address.split("/")[0] ?? "") as number),
	);
	let address = firstFree(block, taken);
	if (wanted !== undefined) {
		address = parseIpv4(wanted.split("/")[0] ?? "");
		if (address === undefined || !isUsable(block, address)) {
			throw invalidArgument(
				"address",
				`"${wanted}" is not one of ${subnet.cidr}'s addresses, or one of its first and last two, which are kept`,
			);
		}
		if (taken.has(address)) {
			throw new ApiError(409, {
				type: "already_exists",
				message: `address ${wanted} is taken on private network ${network.name}`,
				resource: "ip",
			});
		}
	}
	if (address === undefined) {
		throw new ApiError(412, {
			type: "quotas_exceeded",
			message: `no address is left in ${subnet.cidr}`,
			details: [{ resource: "ip", quota: block.size - 4, current: taken.size }],
		});
	}
	return record(cloud, network, subnet.id, `${formatIpv4(address)}/${block.prefixLength}`, false);
}

/** The IPv6 address that every NIC gets besides. It is in the model only: the local networks carry no IPv6. */
export function allocateIpv6(cloud: Cloud, network: PrivateNetwork): IpamIp | undefined {
	const subnet = network.subnets.find((each) => each.isIpv6);
	if (!subnet) return undefined;
	const host = [1, 2, 3, 4].map(() => randomBytes(2).toString("hex")).join(":");
	return record(cloud, network, subnet.id, `${subnet.cidr.split("::")[0]}:${host}/64`, true);
}

function record(cloud: Cloud, network: PrivateNetwork, subnetId: string, address: string, isIpv6: boolean): IpamIp {
	const ip: IpamIp = {
		...newObject(cloud.now()),
		address,
		isIpv6,
		privateNetworkId: network.id,
		subnetId,
		tags: [],
		isBooked: false,
		nicId: null,
	};
	cloud.state.ipamIps[ip.id] = ip;
	return ip;
}
