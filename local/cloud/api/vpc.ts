import { randomBytes, randomUUID } from "node:crypto";
import { z } from "zod";
import { account } from "../../settings.ts";
import { formatIpv4, overlaps, parseSubnet, type Subnet } from "../addresses.ts";
import type { Cloud } from "../cloud.ts";
import type { PrivateNetwork, Vpc } from "../state.ts";
import { pageAnswer, sendNothing } from "./answers.ts";
import { find, invalidArgument, preconditionFailed } from "./errors.ts";
import { isNamed, namedListQuery, ordered } from "./paging.ts";
import {
	type Api,
	byIdInRegion,
	changedTags,
	generatedName,
	id,
	inRegion,
	name,
	newObject,
	project,
	tags,
} from "./route.ts";
import { date } from "./timestamps.ts";

export function registerVpc(api: Api, cloud: Cloud): void {
	const { vpcs, privateNetworks } = cloud.state;

	const present = (vpc: Vpc) => ({
		id: vpc.id,
		name: vpc.name,
		tags: vpc.tags,
		organization_id: account.projectId,
		created_at: date(vpc.createdAt),
		updated_at: date(vpc.updatedAt),
		project_id: account.projectId,
		is_default: vpc.isDefault,
		private_network_count: Object.values(privateNetworks).filter((each) => each.vpcId === vpc.id).length,
		// A VPC of today has both, whatever was asked for.
		routing_enabled: true,
		custom_routes_propagation_enabled: true,
		transitivity_enabled: vpc.transitivityEnabled,
		region: account.region,
	});

	api.post(
		"/vpc/v2/regions/:region/vpcs",
		{
			schema: {
				params: inRegion,
				body: z.strictObject({
					name: name.optional(),
					project_id: project,
					tags,
					enable_routing: z.boolean().optional(),
					enable_transitivity: z.boolean().default(false),
				}),
			},
		},
		async ({ body }) => {
			const vpc: Vpc = {
				...newObject(cloud.now()),
				name: body.name ?? generatedName("vpc"),
				tags: body.tags,
				isDefault: false,
				transitivityEnabled: body.enable_transitivity,
			};
			vpcs[vpc.id] = vpc;
			cloud.save();
			return present(vpc);
		},
	);

	api.get(
		"/vpc/v2/regions/:region/vpcs",
		{
			schema: {
				params: inRegion,
				querystring: z.strictObject({
					...namedListQuery,
					is_default: z.stringbool().optional(),
				}),
			},
		},
		async ({ query }) => {
			const found = ordered(Object.values(vpcs), query.order_by).filter(
				(vpc) => isNamed(vpc, query) && (query.is_default === undefined || vpc.isDefault === query.is_default),
			);
			return pageAnswer("vpcs", found, query, present);
		},
	);

	api.get("/vpc/v2/regions/:region/vpcs/:id", { schema: { params: byIdInRegion } }, async ({ params }) =>
		present(find(vpcs, params.id, "vpc")),
	);

	api.patch(
		"/vpc/v2/regions/:region/vpcs/:id",
		{
			schema: {
				params: byIdInRegion,
				body: z.strictObject({ name: name.optional(), tags: changedTags }),
			},
		},
		async ({ params, body }) => {
			const vpc = find(vpcs, params.id, "vpc");
			vpc.name = body.name ?? vpc.name;
			vpc.tags = body.tags ?? vpc.tags;
			vpc.updatedAt = cloud.now();
			cloud.save();
			return present(vpc);
		},
	);

	api.delete("/vpc/v2/regions/:region/vpcs/:id", { schema: { params: byIdInRegion } }, async ({ params }, reply) => {
		const vpc = find(vpcs, params.id, "vpc");
		const network = Object.values(privateNetworks).find((each) => each.vpcId === vpc.id);
		if (network) {
			throw preconditionFailed(412, "resource_still_in_use", `private network ${network.name} is in this VPC`);
		}
		delete vpcs[vpc.id];
		cloud.save();
		return sendNothing(reply);
	});

	registerPrivateNetworks(api, cloud);
}

function registerPrivateNetworks(api: Api, cloud: Cloud): void {
	const { vpcs, privateNetworks } = cloud.state;

	api.post(
		"/vpc/v2/regions/:region/private-networks",
		{
			schema: {
				params: inRegion,
				body: z.strictObject({
					name: name.optional(),
					project_id: project,
					tags,
					subnets: z.array(z.string()).nullish(),
					vpc_id: id.optional(),
					default_route_propagation_enabled: z.boolean().default(false),
				}),
			},
		},
		async ({ body }) => {
			const vpc =
				body.vpc_id === undefined ? Object.values(vpcs).find((each) => each.isDefault) : find(vpcs, body.vpc_id, "vpc");
			if (!vpc) throw invalidArgument("vpc_id", "there is no default VPC: name one");
			const network: PrivateNetwork = {
				...newObject(cloud.now()),
				name: body.name ?? generatedName("private-network"),
				tags: body.tags,
				vpcId: vpc.id,
				subnets: chooseSubnets(body.subnets ?? [], Object.values(privateNetworks)),
				defaultRoutePropagationEnabled: body.default_route_propagation_enabled,
			};
			privateNetworks[network.id] = network;
			cloud.save();
			try {
				await cloud.hypervisor.createPrivateNetwork({ id: network.id, subnet: ipv4Subnet(network).cidr });
			} catch (error) {
				delete privateNetworks[network.id];
				cloud.save();
				throw error;
			}
			return presentNetwork(network);
		},
	);

	api.get(
		"/vpc/v2/regions/:region/private-networks",
		{
			schema: {
				params: inRegion,
				querystring: z.strictObject({
					...namedListQuery,
					vpc_id: z.string().optional(),
				}),
			},
		},
		async ({ query }) => {
			const found = ordered(Object.values(privateNetworks), query.order_by).filter(
				(network) => isNamed(network, query) && (query.vpc_id === undefined || network.vpcId === query.vpc_id),
			);
			return pageAnswer("private_networks", found, query, presentNetwork);
		},
	);

	api.get("/vpc/v2/regions/:region/private-networks/:id", { schema: { params: byIdInRegion } }, async ({ params }) =>
		presentNetwork(find(privateNetworks, params.id, "private_network")),
	);

	api.patch(
		"/vpc/v2/regions/:region/private-networks/:id",
		{
			schema: {
				params: byIdInRegion,
				body: z.strictObject({
					name: name.optional(),
					tags: changedTags,
					default_route_propagation_enabled: z.boolean().optional(),
				}),
			},
		},
		async ({ params, body }) => {
			const network = find(privateNetworks, params.id, "private_network");
			network.name = body.name ?? network.name;
			network.tags = body.tags ?? network.tags;
			network.defaultRoutePropagationEnabled =
				body.default_route_propagation_enabled ?? network.defaultRoutePropagationEnabled;
			network.updatedAt = cloud.now();
			cloud.save();
			return presentNetwork(network);
		},
	);

	api.delete(
		"/vpc/v2/regions/:region/private-networks/:id",
		{ schema: { params: byIdInRegion } },
		async ({ params }, reply) => {
			const network = find(privateNetworks, params.id, "private_network");
			const nic = Object.values(cloud.state.privateNics).find((each) => each.privateNetworkId === network.id);
			if (nic) throw preconditionFailed(412, "resource_still_in_use", `NIC ${nic.id} is on this private network`);
			const ip = Object.values(cloud.state.ipamIps).find((each) => each.privateNetworkId === network.id);
			if (ip) throw preconditionFailed(412, "resource_still_in_use", `address ${ip.address} is booked on this network`);
			await cloud.hypervisor.deletePrivateNetwork(network.id);
			delete privateNetworks[network.id];
			cloud.save();
			return sendNothing(reply);
		},
	);
}

export function ipv4Subnet(network: PrivateNetwork): PrivateNetwork["subnets"][number] {
	const subnet = network.subnets.find((each) => !each.isIpv6);
	if (!subnet) throw new Error(`private network ${network.id} has no IPv4 subnet`);
	return subnet;
}

/** The IPv4 block asked for, or the first free /22 of 172.16.0.0/12; and always an IPv6 block, as Scaleway gives. */
function chooseSubnets(wanted: string[], existing: PrivateNetwork[]): PrivateNetwork["subnets"] {
	const taken = existing.map((network) => parseSubnet(ipv4Subnet(network).cidr) as Subnet);
	const [cidr = firstFreeBlock(taken), ...more] = wanted;
	if (more.length > 0) throw invalidArgument("subnets", "the local cloud takes one IPv4 subnet");
	const block = parseSubnet(cidr);
	if (!block || block.prefixLength < 20 || block.prefixLength > 29) {
		throw invalidArgument("subnets", `"${cidr}" is not an IPv4 block of /20 to /29`);
	}
	const rival = taken.find((each) => overlaps(each, block));
	if (rival) {
		throw invalidArgument("subnets", `${cidr} overlaps ${formatIpv4(rival.base)}/${rival.prefixLength}`);
	}
	const ipv6 = `fd${randomBytes(1).toString("hex")}:${[1, 2, 3].map(() => randomBytes(2).toString("hex")).join(":")}::/64`;
	return [
		{ id: randomUUID(), cidr, isIpv6: false },
		{ id: randomUUID(), cidr: ipv6, isIpv6: true },
	];
}

function firstFreeBlock(taken: Subnet[]): string {
	for (let second = 16; second < 32; second++) {
		for (let third = 0; third < 256; third += 4) {
			const cidr = `172.${second}.${third}.0/22`;
			if (!taken.some((each) => overlaps(each, parseSubnet(cidr) as Subnet))) return cidr;
		}
	}
	throw invalidArgument("subnets", "no /22 is left in 172.16.0.0/12");
}

function presentNetwork(network: PrivateNetwork): Record<string, unknown> {
	const dates = { created_at: date(network.createdAt), updated_at: date(network.updatedAt) };
	return {
		id: network.id,
		name: network.name,
		tags: network.tags,
		organization_id: account.projectId,
		...dates,
		project_id: account.projectId,
		subnets: network.subnets.map((subnet) => ({
			id: subnet.id,
			created_at: date(network.createdAt),
			updated_at: date(network.createdAt),
			subnet: subnet.cidr,
			project_id: account.projectId,
			private_network_id: network.id,
			vpc_id: network.vpcId,
			region: account.region,
		})),
		vpc_id: network.vpcId,
		dhcp_enabled: true,
		default_route_propagation_enabled: network.defaultRoutePropagationEnabled,
		region: account.region,
	};
}
