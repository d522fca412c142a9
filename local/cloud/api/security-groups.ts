import { randomUUID } from "node:crypto";
import { z } from "zod";
import { account } from "../../settings.ts";
import { parseIpv4 } from "../addresses.ts";
import { type Cloud, securityGroupSpec } from "../cloud.ts";
import type { SecurityGroup, SecurityGroupRule } from "../state.ts";
import { sendCreated, sendNothing, sendPage } from "./answers.ts";
import { find, invalidArgument, preconditionFailed } from "./errors.ts";
import { instanceListQuery, isNamed, perPageQuery } from "./paging.ts";
import { type Api, byIdInZone, changedTags, generatedName, inZone, name, newObject, project, tags } from "./route.ts";
import { instanceDate } from "./timestamps.ts";

const base = "/instance/v1/zones/:zone/security_groups";
const policy = z.enum(["accept", "drop"]);
const port = z.number().int().min(1).max(65535).nullish();

const rule = z.strictObject({
	/** A new rule has none; one that is kept may name its id. */
	id: z.string().nullish(),
	action: policy,
	protocol: z.enum(["TCP", "UDP", "ICMP", "ANY"]),
	direction: z.enum(["inbound", "outbound"]),
	ip_range: z.string(),
	dest_port_from: port,
	dest_port_to: port,
	position: z.number().int().min(0),
	editable: z.boolean().nullish(),
	zone: z.string().nullish(),
});

export function registerSecurityGroups(api: Api, cloud: Cloud): void {
	const groups = cloud.state.securityGroups;

	const present = (group: SecurityGroup) => ({
		id: group.id,
		creation_date: instanceDate(group.createdAt),
		modification_date: instanceDate(group.updatedAt),
		name: group.name,
		description: group.description,
		organization: account.projectId,
		project: account.projectId,
		servers: Object.values(cloud.state.servers)
			.filter((server) => server.securityGroupId === group.id)
			.map((server) => ({ id: server.id, name: server.name })),
		stateful: group.stateful,
		inbound_default_policy: group.inboundDefault,
		outbound_default_policy: group.outboundDefault,
		organization_default: false,
		project_default: group.isProjectDefault,
		enable_default_security: group.enableDefaultSecurity,
		state: group.state,
		tags: group.tags,
		zone: account.zone,
	});

	api.post(
		base,
		{
			schema: {
				params: inZone,
				body: z.strictObject({
					name: name.optional(),
					description: z.string().optional(),
					project: project.optional(),
					organization: project.optional(),
					tags,
					stateful: z.boolean().default(true),
					inbound_default_policy: policy.default("accept"),
					outbound_default_policy: policy.default("accept"),
					enable_default_security: z.boolean().default(true),
					project_default: z.literal(false, { error: "the local cloud's default group stays the default" }).optional(),
				}),
			},
		},
		async ({ body }, reply) => {
			const group: SecurityGroup = {
				...newObject(cloud.now()),
				name: body.name ?? generatedName("security-group"),
				description: body.description || null,
				tags: body.tags,
				stateful: body.stateful,
				inboundDefault: body.inbound_default_policy,
				outboundDefault: body.outbound_default_policy,
				enableDefaultSecurity: body.enable_default_security,
				isProjectDefault: false,
				state: "available",
				rules: [],
			};
			groups[group.id] = group;
			cloud.save();
			return sendCreated(reply, "security_groups", "security_group", present(group));
		},
	);

	api.get(
		base,
		{
			schema: {
				params: inZone,
				querystring: z.strictObject({
					...instanceListQuery,
					project_default: z.stringbool().optional(),
				}),
			},
		},
		async ({ query }, reply) => {
			const found = Object.values(groups).filter(
				(group) =>
					isNamed(group, query) &&
					(query.project_default === undefined || group.isProjectDefault === query.project_default),
			);
			return sendPage(reply, "security_groups", found.map(present), query);
		},
	);

	api.get(`${base}/:id`, { schema: { params: byIdInZone } }, async ({ params }) => ({
		security_group: present(find(groups, params.id, "instance_security_group")),
	}));

	api.patch(
		`${base}/:id`,
		{
			schema: {
				params: byIdInZone,
				body: z.strictObject({
					name: name.optional(),
					description: z.string().optional(),
					tags: changedTags,
					stateful: z.boolean().optional(),
					inbound_default_policy: policy.optional(),
					outbound_default_policy: policy.optional(),
					enable_default_security: z.boolean().optional(),
				}),
			},
		},
		async ({ params, body }) => {
			const group = find(groups, params.id, "instance_security_group");
			const before = JSON.stringify(securityGroupSpec(group));
			group.name = body.name ?? group.name;
			group.description = body.description ?? group.description;
			group.tags = body.tags ?? group.tags;
			group.stateful = body.stateful ?? group.stateful;
			group.inboundDefault = body.inbound_default_policy ?? group.inboundDefault;
			group.outboundDefault = body.outbound_default_policy ?? group.outboundDefault;
			group.enableDefaultSecurity = body.enable_default_security ?? group.enableDefaultSecurity;
			group.updatedAt = cloud.now();
			if (JSON.stringify(securityGroupSpec(group)) !== before) cloud.applySecurityGroup(group);
			cloud.save();
			return { security_group: present(group) };
		},
	);

	api.delete(`${base}/:id`, { schema: { params: byIdInZone } }, async ({ params }, reply) => {
		const group = find(groups, params.id, "instance_security_group");
		const user = Object.values(cloud.state.servers).find((server) => server.securityGroupId === group.id);
		if (user) throw preconditionFailed(400, "resource_still_in_use", `server ${user.name} is in this group`);
		if (group.isProjectDefault) {
			throw preconditionFailed(400, "resource_still_in_use", "the project's default group can't be deleted");
		}
		delete groups[group.id];
		cloud.save();
		return sendNothing(reply);
	});

	api.get(
		`${base}/:id/rules`,
		{ schema: { params: byIdInZone, querystring: z.strictObject(perPageQuery) } },
		async ({ params, query }, reply) =>
			sendPage(reply, "rules", presentRules(find(groups, params.id, "instance_security_group")), query),
	);

	api.put(
		`${base}/:id/rules`,
		{ schema: { params: byIdInZone, body: z.strictObject({ rules: z.array(rule) }) } },
		async ({ params, body }) => {
			const group = find(groups, params.id, "instance_security_group");
			group.rules = body.rules
				.filter((each) => each.editable !== false)
				.map(
					(each, index): SecurityGroupRule => ({
						id: randomUUID(),
						direction: each.direction,
						action: each.action,
						protocol: each.protocol,
						ipRange: checkRange(each.ip_range, index),
						portFrom: each.dest_port_from ?? null,
						portTo: each.dest_port_to ?? null,
					}),
				);
			group.updatedAt = cloud.now();
			cloud.applySecurityGroup(group);
			cloud.save();
			return { rules: presentRules(group) };
		},
	);
}

function checkRange(range: string, index: number): string {
	const [address = "", prefix = "32", ...rest] = range.split("/");
	const isIpv4 = parseIpv4(address) !== undefined && Number(prefix) <= 32;
	const isIpv6 = /^[0-9a-fA-F:]*:[0-9a-fA-F:.]*$/.test(address) && Number(prefix) <= 128;
	if (rest.length > 0 || !/^\d+$/.test(prefix) || !(isIpv4 || isIpv6)) {
		throw invalidArgument(`rules.${index}.ip_range`, `"${range}" is not an IP range in CIDR notation`);
	}
	return range.includes("/") ? range : `${range}/${isIpv4 ? 32 : 128}`;
}

/** Default security comes first; positions count per kind; a range of one address is shown without its prefix length. */
function presentRules(group: SecurityGroup): Record<string, unknown>[] {
	const spec = securityGroupSpec(group).rules;
	const defaults = spec.length - group.rules.length;
	return spec.map((each, index) => ({
		id: group.rules[index - defaults]?.id ?? `11111111-2222-4333-8444-${String(index + 1).padStart(12, "0")}`,
		protocol: each.protocol,
		direction: each.direction,
		ip_range: each.ipRange.replace(/\/(32|128)$/, (suffix) =>
			(suffix === "/32") === !each.ipRange.includes(":") ? "" : suffix,
		),
		dest_ip_range: null,
		dest_port_from: each.portFrom,
		dest_port_to: each.portTo,
		position: index < defaults ? index + 1 : index - defaults + 1,
		editable: index >= defaults,
		action: each.action,
		zone: account.zone,
	}));
}
