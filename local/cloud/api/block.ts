import { z } from "zod";
import { account } from "../../settings.ts";
import { type Cloud, image } from "../cloud.ts";
import type { Volume } from "../state.ts";
import { pageAnswer, sendNothing } from "./answers.ts";
import { ApiError, find, invalidArgument, preconditionFailed } from "./errors.ts";
import { isNamed, namedListQuery, ordered } from "./paging.ts";
import { type Api, byIdInZone, changedTags, generatedName, inZone, name, newObject, project, tags } from "./route.ts";
import { date } from "./timestamps.ts";

const gigabyte = 1_000_000_000;
const size = z
	.number()
	.int()
	.min(5 * gigabyte, { error: "a volume has at least 5 GB" })
	.max(10_000 * gigabyte, { error: "a volume has at most 10 TB" });
const iops = z.literal([5000, 15000]);

export function registerBlock(api: Api, cloud: Cloud): void {
	const volumes = cloud.state.volumes;

	api.post(
		"/block/v1/zones/:zone/volumes",
		{
			schema: {
				params: inZone,
				body: z.strictObject({
					name: name.optional(),
					perf_iops: iops.default(5000),
					project_id: project,
					from_empty: z.strictObject({ size }),
					tags,
				}),
			},
		},
		async ({ body }) => {
			const volume: Volume = {
				...newObject(cloud.now()),
				name: body.name ?? generatedName("volume"),
				tags: body.tags,
				size: body.from_empty.size,
				iops: body.perf_iops,
				status: "creating",
				isRoot: false,
				reference: null,
				lastDetachedAt: null,
			};
			volumes[volume.id] = volume;
			const answer = present(volume);
			cloud.save();
			cloud.makeVolume(volume);
			return answer;
		},
	);

	api.get(
		"/block/v1/zones/:zone/volumes",
		{
			schema: {
				params: inZone,
				querystring: z.strictObject({
					...namedListQuery,
					product_resource_id: z.string().optional(),
					// A deleted volume is not remembered here, so both answers are the same.
					include_deleted: z.enum(["true", "false"]).optional(),
				}),
			},
		},
		async ({ query }) => {
			const found = ordered(Object.values(volumes), query.order_by).filter(
				(volume) =>
					isNamed(volume, query) &&
					(query.product_resource_id === undefined || volume.reference?.serverId === query.product_resource_id),
			);
			return pageAnswer("volumes", found, query, present);
		},
	);

	api.get("/block/v1/zones/:zone/volumes/:id", { schema: { params: byIdInZone } }, async ({ params }) =>
		present(find(volumes, params.id, "volume")),
	);

	api.patch(
		"/block/v1/zones/:zone/volumes/:id",
		{
			schema: {
				params: byIdInZone,
				body: z.strictObject({
					name: name.optional(),
					size: size.optional(),
					tags: changedTags,
					perf_iops: iops.optional(),
				}),
			},
		},
		async ({ params, body }) => {
			const volume = find(volumes, params.id, "volume");
			if (body.size !== undefined && body.size < volume.size) {
				throw invalidArgument("size", `a volume can't shrink: it has ${volume.size} bytes`);
			}
			const change = {
				...(body.size !== undefined && body.size > volume.size ? { size: body.size } : {}),
				...(body.perf_iops !== undefined && body.perf_iops !== volume.iops ? { iops: body.perf_iops } : {}),
			};
			if (body.name !== undefined) volume.name = body.name;
			if (body.tags !== undefined) volume.tags = body.tags;
			if (body.name !== undefined || body.tags !== undefined) volume.updatedAt = cloud.now();
			const isUpdating = Object.keys(change).length > 0;
			const answer = { ...present(volume), ...(isUpdating ? { status: "updating" } : {}) };
			cloud.save();
			if (isUpdating) cloud.updateVolume(volume, change);
			return answer;
		},
	);

	api.delete("/block/v1/zones/:zone/volumes/:id", { schema: { params: byIdInZone } }, async ({ params }, reply) => {
		const volume = find(volumes, params.id, "volume");
		if (volume.reference) {
			throw preconditionFailed(
				412,
				"resource_still_in_use",
				`volume is attached to server ${volume.reference.serverId}`,
			);
		}
		await cloud.deleteVolume(volume);
		if (Object.hasOwn(volumes, volume.id)) {
			throw new ApiError(500, {
				type: "internal_error",
				message: `volume ${volume.name} could not be deleted; the local cloud's log says why`,
			});
		}
		return sendNothing(reply);
	});
}

function present(volume: Volume): Record<string, unknown> {
	const { reference } = volume;
	return {
		id: volume.id,
		name: volume.name,
		type: volume.iops === 15000 ? "sbs_15k" : "sbs_5k",
		size: volume.size,
		project_id: account.projectId,
		created_at: date(volume.createdAt),
		updated_at: date(volume.updatedAt),
		references: reference
			? [
					{
						id: reference.id,
						product_resource_type: "instance_server",
						product_resource_id: reference.serverId,
						created_at: date(reference.createdAt),
						type: "exclusive",
						status: "attached",
					},
				]
			: [],
		parent_snapshot_id: volume.isRoot ? image.snapshotId : null,
		status: volume.status,
		tags: volume.tags,
		specs: { perf_iops: volume.iops, class: "sbs" },
		last_detached_at: volume.lastDetachedAt === null ? null : date(volume.lastDetachedAt),
		kms_key_id: null,
		zone: account.zone,
	};
}
