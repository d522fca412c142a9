import { z } from "zod";
import { project } from "./route.ts";

const positive = z.coerce.number().int().min(1);

/** Query of the instance API's lists; answers carry X-Total-Count. */
export const perPageQuery = { page: positive.default(1), per_page: positive.max(100).default(50) };

/** Several tags in one parameter, as the instance API takes them. */
export const commaTags = z
	.string()
	.transform((text) => text.split(","))
	.optional();

/** Query of the instance API's lists of what belongs to a project. */
export const instanceListQuery = {
	...perPageQuery,
	name: z.string().optional(),
	project: project.optional(),
	organization: project.optional(),
	tags: commaTags,
};

/** Query of the other APIs' lists; answers carry `total_count` in their body. */
export const pageSizeQuery = { page: positive.default(1), page_size: positive.max(100).default(50) };

export const order = z.enum(["created_at_asc", "created_at_desc"]);
type Order = z.infer<typeof order>;

/** Query of the other APIs' lists of what belongs to a project. */
export const listQuery = {
	...pageSizeQuery,
	order_by: order.default("created_at_asc"),
	project_id: project.optional(),
	organization_id: project.optional(),
};

/** One parameter a tag, as the other APIs take them. */
export const repeatedTags = z.union([z.string().transform((one) => [one]), z.array(z.string())]).optional();

/** The same, of what has a name and tags. */
export const namedListQuery = { ...listQuery, name: z.string().optional(), tags: repeatedTags };

/** Whether an object has what a list's query names: a part of its name, and all the tags. */
export function isNamed(
	object: { name: string; tags: string[] },
	query: { name?: string | undefined; tags?: string[] | undefined },
): boolean {
	return (query.name === undefined || object.name.includes(query.name)) && hasTags(object, query.tags);
}

/** Whether an object has all the tags that a list's query names. */
export function hasTags(object: { tags: string[] }, wanted: string[] | undefined): boolean {
	return (wanted ?? []).every((tag) => object.tags.includes(tag));
}

export function page<T>(all: T[], query: { page: number; per_page?: number; page_size?: number }): T[] {
	const size = query.per_page ?? query.page_size ?? 50;
	return all.slice((query.page - 1) * size, query.page * size);
}

/** A copy in the order asked for; the first made comes first in ascending order. */
export function ordered<T extends { createdAt: string }>(all: T[], order: Order): T[] {
	const ascending = [...all].sort((a, b) => a.createdAt.localeCompare(b.createdAt));
	return order === "created_at_asc" ? ascending : ascending.reverse();
}
