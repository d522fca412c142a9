import { randomUUID } from "node:crypto";
import { z } from "zod";
import { account } from "../../settings.ts";
import { type Cloud, image } from "../cloud.ts";
import type { Server, Volume } from "../state.ts";
import { sendCreated, sendNothing, sendPage } from "./answers.ts";
import { find, invalidArgument, notFound, notServed, preconditionFailed } from "./errors.ts";
import { instanceListQuery, isNamed, ordered, perPageQuery } from "./paging.ts";
import { present as presentNic } from "./private-nics.ts";
import { assertCanAttach, attachPublicIp, detachPublicIp, presentOnServer } from "./public-ips.ts";
import {
	type Api,
	byIdInZone,
	changedTags,
	generatedName,
	id,
	inZone,
	name,
	newObject,
	project,
	tags,
} from "./route.ts";
import { findServerType, presentServerType, serverTypes } from "./server-types.ts";
import { instanceDate } from "./timestamps.ts";

const base = "/instance/v1/zones/:zone/servers";
const gigabyte = 1_000_000_000;
const mostVolumes = 16;

/** A slot of the volumes' map: the new root volume, or a block volume that exists. */
const volumeSlot = z.strictObject({
	id: id.optional(),
	boot: z.boolean().optional(),
	name: z.string().optional(),
	size: z
		.number()
		.int()
		.min(5 * gigabyte, { error: "a block volume has at least 5 GB" })
		.optional(),
	volume_type: z
		.literal("sbs_volume", { error: "the local cloud has only block storage: expected sbs_volume" })
		.optional(),
});
const volumeSlots = z.record(z.string().regex(/^\d+$/, { error: "expected slots 0, 1, 2 …" }), volumeSlot);

const createBody = z.strictObject({
	name: name.optional(),
	commercial_type: z.string(),
	image: id,
	volumes: volumeSlots.default({}),
	public_ips: z.array(id).default([]),
	dynamic_ip_required: z.literal(false, { error: "the local cloud has no dynamic addresses" }).default(false),
	boot_type: z.literal("local").default("local"),
	project: project.optional(),
	organization: project.optional(),
	security_group: id.optional(),
	placement_group: z.null({ error: "the local cloud has no placement groups" }).optional(),
	tags,
	protected: z.boolean().default(false),
});

const updateBody = z.strictObject({
	name: name.optional(),
	tags: changedTags,
	commercial_type: z.string().optional(),
	volumes: volumeSlots.optional(),
	public_ips: z.array(id).optional(),
	dynamic_ip_required: z.literal(false, { error: "the local cloud has no dynamic addresses" }).optional(),
	boot_type: z.literal("local").optional(),
	security_group: z.strictObject({ id, name: z.string().optional() }).optional(),
	placement_group: z.null({ error: "the local cloud has no placement groups" }).optional(),
	protected: z.boolean().optional(),
});

const allowedActions: Record<Server["state"], string[]> = {
	stopped: ["poweron", "backup"],
	starting: ["stop_in_place", "backup"],
	running: ["poweroff", "terminate", "reboot", "stop_in_place", "backup"],
	stopping: ["stop_in_place", "backup"],
	"stopped in place": ["poweron", "poweroff", "terminate", "reboot", "backup"],
};

export function registerServers(api: Api, cloud: Cloud): void {
	const { servers, volumes, publicIps, securityGroups } = cloud.state;
	const present = (server: Server) => presentServer(cloud, server);

	api.get(
		"/instance/v1/zones/:zone/products/servers",
		{ schema: { params: inZone, querystring: z.strictObject(perPageQuery) } },
		async ({ query }, reply) => {
			const { types } = sendPage(reply, "types", serverTypes, query) as { types: typeof serverTypes };
			return { servers: Object.fromEntries(types.map((type) => [type.name, presentServerType(type)])) };
		},
	);

	api.get(
		"/instance/v1/zones/:zone/products/servers/availability",
		{ schema: { params: inZone, querystring: z.strictObject(perPageQuery) } },
		async ({ query }, reply) => {
			const { types } = sendPage(reply, "types", serverTypes, query) as { types: typeof serverTypes };
			return { servers: Object.fromEntries(types.map((type) => [type.name, { availability: "available" }])) };
		},
	);

	api.get("/instance/v1/zones/:zone/images/:id", { schema: { params: byIdInZone } }, async ({ params }) => {
		if (params.id !== image.id) throw notFound("instance_image", params.id);
		return { image: presentImage() };
	});

	// Block volumes are not the instance API's: clients ask here first and go on to the block API after a 404.
	api.get("/instance/v1/zones/:zone/volumes/:id", { schema: { params: byIdInZone } }, async ({ params }) => {
		throw notFound("instance_volume", params.id);
	});

	api.post(base, { schema: { params: inZone, body: createBody } }, async ({ body }, reply) => {
		const type = findServerType(body.commercial_type);
		if (!type) throw invalidArgument("commercial_type", `"${body.commercial_type}" is not a server type in this zone`);
		if (body.image !== image.id) throw notFound("instance_image", body.image);
		const group =
			body.security_group === undefined
				? Object.values(securityGroups).find((each) => each.isProjectDefault)
				: find(securityGroups, body.security_group, "instance_security_group");
		if (!group) throw new Error("the project has no default security group");
		const { "0": root = {}, ...others } = body.volumes;
		if (root.id !== undefined) throw notServed("a server that boots from a volume that exists (volumes.0.id)");
		const now = cloud.now();
		const server: Server = {
			...newObject(now),
			name: body.name ?? generatedName("server"),
			commercialType: type.name,
			imageId: image.id,
			tags: body.tags,
			state: "stopped",
			stateDetail: "",
			protected: body.protected,
			macAddress: cloud.newMacAddress("de:00:00"),
			securityGroupId: group.id,
			publicIpIds: [],
			rootVolumeId: null,
			volumeIds: [],
			userData: {},
		};
		const data = dataVolumes(others, volumes, server);
		const ips = body.public_ips.map((ipId) => find(publicIps, ipId, "instance_ip"));
		for (const ip of ips) assertCanAttach(server, ip);

		const rootVolume: Volume = {
			...newObject(now),
			name: root.name ?? `${image.name}_sbs_volume_0`,
			tags: [],
			size: root.size ?? image.rootBytes,
			iops: 5000,
			status: "in_use",
			isRoot: true,
			reference: null,
			lastDetachedAt: null,
		};
		volumes[rootVolume.id] = rootVolume;
		server.rootVolumeId = rootVolume.id;
		servers[server.id] = server;
		for (const volume of [rootVolume, ...data]) cloud.attachVolume(volume, server.id);
		server.volumeIds = data.map((volume) => volume.id);
		for (const ip of ips) attachPublicIp(server, ip);
		cloud.save();
		cloud.prepare(server);
		return sendCreated(reply, "servers", "server", present(server));
	});

	api.get(
		base,
		{
			schema: {
				params: inZone,
				querystring: z.strictObject({
					...instanceListQuery,
					commercial_type: z.string().optional(),
					state: z.string().optional(),
					private_network: z.string().optional(),
					order: z.enum(["creation_date_asc", "creation_date_desc"]).default("creation_date_desc"),
				}),
			},
		},
		async ({ query }, reply) => {
			const found = Object.values(servers).filter(
				(server) =>
					isNamed(server, query) &&
					(query.commercial_type === undefined || server.commercialType === query.commercial_type) &&
					(query.state === undefined || server.state === query.state) &&
					(query.private_network === undefined ||
						cloud.nicsOf(server).some((nic) => nic.privateNetworkId === query.private_network)),
			);
			const sorted = ordered(found, query.order === "creation_date_desc" ? "created_at_desc" : "created_at_asc");
			return sendPage(reply, "servers", sorted.map(present), query);
		},
	);

	api.get(`${base}/:id`, { schema: { params: byIdInZone } }, async ({ params }) => ({
		server: present(find(servers, params.id, "instance_server")),
	}));

	api.patch(`${base}/:id`, { schema: { params: byIdInZone, body: updateBody } }, async ({ params, body }) => {
		const server = find(servers, params.id, "instance_server");
		const isOff = server.state === "stopped" || server.state === "stopped in place";
		const type = body.commercial_type === undefined ? undefined : findServerType(body.commercial_type);
		if (body.commercial_type !== undefined) {
			if (!type) {
				throw invalidArgument("commercial_type", `"${body.commercial_type}" is not a server type in this zone`);
			}
			if (type.name !== server.commercialType && server.state !== "stopped") {
				throw preconditionFailed(400, "resource_still_in_use", `${server.name} must be stopped to change its type`);
			}
		}
		const group = body.security_group && find(securityGroups, body.security_group.id, "instance_security_group");
		const ips = body.public_ips?.map((ipId) => find(publicIps, ipId, "instance_ip"));
		for (const ip of ips ?? []) if (ip.serverId !== server.id) assertCanAttach(server, ip);
		const data = body.volumes && checkVolumes(body.volumes, server, volumes, isOff);

		server.name = body.name ?? server.name;
		server.tags = body.tags ?? server.tags;
		server.protected = body.protected ?? server.protected;
		server.commercialType = type?.name ?? server.commercialType;
		if (data) {
			for (const volumeId of server.volumeIds) {
				const volume = volumes[volumeId];
				if (volume && !data.includes(volume)) cloud.detachVolume(volume);
			}
			for (const volume of data) if (volume.reference?.serverId !== server.id) cloud.attachVolume(volume, server.id);
			server.volumeIds = data.map((volume) => volume.id);
		}
		if (ips) {
			for (const ipId of server.publicIpIds) {
				const ip = publicIps[ipId];
				if (ip && !ips.includes(ip)) await detachPublicIp(cloud, ip);
			}
			for (const ip of ips) attachPublicIp(server, ip);
		}
		if (group && group.id !== server.securityGroupId) {
			server.securityGroupId = group.id;
			cloud.applySecurityGroup(group);
		}
		server.updatedAt = cloud.now();
		cloud.save();
		return { server: present(server) };
	});

	api.delete(`${base}/:id`, { schema: { params: byIdInZone } }, async ({ params }, reply) => {
		const server = find(servers, params.id, "instance_server");
		if (server.state !== "stopped") {
			throw preconditionFailed(400, "resource_still_in_use", `${server.name} is ${server.state}: power it off first`);
		}
		cloud.terminate(server);
		return sendNothing(reply);
	});

	api.post(
		`${base}/:id/action`,
		{
			schema: {
				params: byIdInZone,
				body: z.strictObject({ action: z.enum(["poweron", "poweroff", "reboot", "terminate", "stop_in_place"]) }),
			},
		},
		async ({ params, body }, reply) => {
			const server = find(servers, params.id, "instance_server");
			if (!allowedActions[server.state].includes(body.action)) {
				throw preconditionFailed(
					400,
					"resource_still_in_use",
					`${server.name} is ${server.state}: can't ${body.action}`,
				);
			}
			if (server.protected && body.action !== "poweron") {
				throw preconditionFailed(400, "protected_resource", `${server.name} is protected`);
			}
			if (body.action === "poweron") cloud.powerOn(server);
			else if (body.action === "poweroff") cloud.powerOff(server, false);
			else if (body.action === "stop_in_place") cloud.powerOff(server, true);
			else if (body.action === "reboot") cloud.reboot(server);
			else cloud.terminate(server);
			const taskId = randomUUID();
			return reply
				.code(202)
				.header("Location", `/instance/v1/zones/${account.zone}/tasks/${taskId}`)
				.send({
					task: {
						id: taskId,
						description: body.action === "poweron" ? "server_batch_poweron" : `server_${body.action}`,
						status: "pending",
						href_from: `/servers/${server.id}/action`,
						href_result: `/servers/${server.id}`,
						started_at: instanceDate(server.updatedAt),
						terminated_at: null,
						progress: 0,
						zone: account.zone,
					},
				});
		},
	);
}

/** The data volumes that slots name, in the order of the slots; each exists and is free or the server's own. */
function dataVolumes(
	slots: Record<string, z.infer<typeof volumeSlot>>,
	volumes: Record<string, Volume>,
	server: Server,
): Volume[] {
	const data = Object.entries(slots)
		.sort(([a], [b]) => Number(a) - Number(b))
		.map(([slot, { id: volumeId, ...rest }]) => {
			if (volumeId === undefined || rest.size !== undefined) {
				throw notServed(
					`a new volume made with a server (volumes.${slot}): make it with the block API and name its id`,
				);
			}
			const volume = find(volumes, volumeId, "volume");
			if (volume.reference && volume.reference.serverId !== server.id) {
				throw preconditionFailed(
					400,
					"resource_still_in_use",
					`volume ${volume.name} is attached to server ${volume.reference.serverId}`,
				);
			}
			return volume;
		});
	if (data.length >= mostVolumes) throw invalidArgument("volumes", `a server has at most ${mostVolumes} volumes`);
	return data;
}

function checkVolumes(
	slots: Record<string, z.infer<typeof volumeSlot>>,
	server: Server,
	volumes: Record<string, Volume>,
	isOff: boolean,
): Volume[] {
	const { "0": root, ...others } = slots;
	if (root?.id !== (server.rootVolumeId ?? undefined)) throw notServed("another root volume (volumes.0.id)");
	const data = dataVolumes(others, volumes, server);
	const isSame = data.map((volume) => volume.id).join() === server.volumeIds.join();
	if (!isSame && !isOff) {
		throw notServed(`volumes of a server that is ${server.state}: power ${server.name} off to attach or detach them`);
	}
	return data;
}

function presentImage(): Record<string, unknown> {
	const published = "2026-05-12T15:20:10.934226+00:00";
	return {
		id: image.id,
		name: image.name,
		organization: account.projectId,
		project: account.projectId,
		root_volume: { volume_type: "sbs_snapshot", id: image.snapshotId, size: 0, name: "" },
		extra_volumes: {},
		public: true,
		arch: "x86_64",
		creation_date: published,
		modification_date: published,
		default_bootscript: null,
		from_server: "",
		state: "available",
		tags: [],
		zone: account.zone,
	};
}

function presentServer(cloud: Cloud, server: Server) {
	const { state } = cloud;
	const ips = server.publicIpIds
		.flatMap((ipId) => state.publicIps[ipId] ?? [])
		.map((ip, index) => ({ ...presentOnServer(ip, index), state: "attached", ipam_id: ip.id }));
	const attached = [server.rootVolumeId, ...server.volumeIds].flatMap(
		(volumeId) => state.volumes[volumeId ?? ""] ?? [],
	);
	const isPlaced = server.state === "running" || server.state === "stopping" || server.state === "stopped in place";
	return {
		id: server.id,
		name: server.name,
		arch: "x86_64",
		commercial_type: server.commercialType,
		boot_type: "local",
		organization: account.projectId,
		project: account.projectId,
		hostname: server.name,
		image: presentImage(),
		volumes: Object.fromEntries(
			attached.map((volume, index) => [
				String(index),
				{
					boot: false,
					volume_type: "sbs_volume",
					id: volume.id,
					state: volume.status === "updating" ? "resizing" : "available",
					zone: account.zone,
				},
			]),
		),
		tags: server.tags,
		state: server.state,
		protected: server.protected,
		state_detail: server.stateDetail,
		public_ip: ips[0] ?? null,
		public_ips: ips,
		mac_address: server.macAddress,
		routed_ip_enabled: true,
		ipv6: null,
		extra_networks: [],
		dynamic_ip_required: false,
		enable_ipv6: false,
		private_ip: null,
		creation_date: instanceDate(server.createdAt),
		modification_date: instanceDate(server.updatedAt),
		bootscript: null,
		security_group: {
			id: server.securityGroupId,
			name: state.securityGroups[server.securityGroupId]?.name ?? "",
		},
		location: isPlaced
			? { zone_id: account.zone, platform_id: "14", cluster_id: "19", hypervisor_id: "1", node_id: "1" }
			: null,
		maintenances: [],
		allowed_actions: allowedActions[server.state],
		placement_group: null,
		private_nics: cloud.nicsOf(server).map(presentNic),
		zone: account.zone,
		filesystems: [],
		// The provider asks for more about types that are at their end; ours always start.
		end_of_service: false,
		dns: `${server.id}.pub.instances.scw.cloud`,
		admin_password_encryption_ssh_key_id: null,
		admin_password_encrypted_value: null,
	};
}
