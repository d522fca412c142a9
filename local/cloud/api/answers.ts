import type { FastifyReply } from "fastify";
import { account } from "../../settings.ts";
import { page } from "./paging.ts";

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

/** One page of a list of another API, under its key. */
export function pageAnswer<T>(
	key: string,
	all: T[],
	query: { page: number; page_size: number },
	present: (one: T) => unknown,
): Record<string, unknown> {
	return { [key]: page(all, query).map(present), total_count: all.length };
}

/** The instance API's answer to what it made: `key` names the object in the body, `collection` the list it is in. */
export function sendCreated(
	reply: FastifyReply,
	collection: string,
	key: string,
	object: { id: string },
): FastifyReply {
	return reply
		.code(201)
		.header("Location", `/instance/v1/zones/${account.zone}/${collection}/${object.id}`)
		.send({ [key]: object });
}

/** The answer to what was deleted. */
export function sendNothing(reply: FastifyReply): FastifyReply {
	return reply.code(204).header("content-type", "application/json").send();
}
