import type { FastifyReply } from "fastify";
import { z } from "zod";

const positive = z.coerce.number().int().min(1);

/** Query of the instance API's lists; answers carry X-Total-Count. */
export const perPageQuery = { page: positive.default(1), per_page: positive.max(100).default(50) };

/** Query of the other APIs' lists; answers carry `total_count` in their body. */
export const pageSizeQuery = { page: positive.default(1), page_size: positive.max(100).default(50) };

export function page<T>(all: T[], query: { page: number; per_page?: number; page_size?: number }): T[] {
	const size = query.per_page ?? query.page_size ?? 50;
	return all.slice((query.page - 1) * size, query.page * size);
}

/** One page of a list of the instance API, under its key. */
export function sendPage(
	reply: FastifyReply,
	key: string,
	all: unknown[],
	query: { page: number; per_page: number },
): Record<string, unknown> {
	reply.header("X-Total-Count", String(all.length));
	return { [key]: page(all, query) };
}

export type Order = "created_at_asc" | "created_at_desc";

/** A copy in the order asked for; the first made comes first in ascending order. */
export function ordered<T extends { createdAt: string }>(all: T[], order: Order): T[] {
	const ascending = [...all].sort((a, b) => a.createdAt.localeCompare(b.createdAt));
	return order === "created_at_asc" ? ascending : ascending.reverse();
}
