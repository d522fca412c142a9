import { z } from "zod";
import { account } from "../../settings.ts";
import { image } from "../cloud.ts";
import { pageAnswer } from "./answers.ts";
import { find } from "./errors.ts";
import { pageSizeQuery } from "./paging.ts";
import type { Api } from "./route.ts";
import { serverTypes } from "./server-types.ts";

/** The image as a boot medium on block storage, the only kind of root disk that is served. */
const localImages = {
	[image.id]: {
		id: image.id,
		arch: "x86_64",
		zone: account.zone,
		compatible_commercial_types: serverTypes.filter((type) => type.architecture === "x86_64").map((type) => type.name),
		label: image.label,
		type: "instance_sbs",
	},
};

export function registerMarketplace(api: Api): void {
	api.get(
		"/marketplace/v2/local-images",
		{
			schema: {
				querystring: z.strictObject({
					...pageSizeQuery,
					image_label: z.string().optional(),
					order_by: z.enum(["type_asc", "type_desc", "created_at_asc", "created_at_desc"]).optional(),
					type: z.enum(["unknown_type", "instance_local", "instance_sbs"]).optional(),
					zone: z.string().optional(),
				}),
			},
		},
		async ({ query }) => {
			const found = Object.values(localImages).filter(
				(each) =>
					(query.image_label === undefined || each.label === query.image_label) &&
					(query.type === undefined || query.type === "unknown_type" || each.type === query.type) &&
					(query.zone === undefined || each.zone === query.zone),
			);
			return pageAnswer("local_images", found, query, (each) => each);
		},
	);

	api.get(
		"/marketplace/v2/local-images/:id",
		{ schema: { params: z.strictObject({ id: z.string() }) } },
		async ({ params }) => find<object>(localImages, params.id, "local_image"),
	);
}
