import { randomUUID } from "node:crypto";
import type { Server as HttpServer, IncomingMessage, ServerResponse } from "node:http";
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import { z } from "zod";
import { account } from "../../settings.ts";

export type Api = FastifyInstance<HttpServer, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>;

const zone = z.literal(account.zone, { error: `the local cloud has only the zone ${account.zone}` });
const region = z.literal(account.region, { error: `the local cloud has only the region ${account.region}` });

/** Path parameters. */
export const inZone = z.strictObject({ zone });
export const inRegion = z.strictObject({ region });
export const byIdInZone = z.strictObject({ zone, id: z.string() });
export const byIdInRegion = z.strictObject({ region, id: z.string() });

/** The one project; another is refused. */
export const project = z.literal(account.projectId, {
	error: `expected the local cloud's only project, ${account.projectId}`,
});

export const tags = z.array(z.string()).default([]);
/** The tags of an object that is changed; those it has if they are absent. */
export const changedTags = z.array(z.string()).optional();
export const name = z.string().min(1).max(255);
/** An id in a body. Whether the object exists is the handler's to say. */
export const id = z.guid();

/** A name for an object whose client gave none. */
export function generatedName(kind: string): string {
	return `local-${kind}-${Math.random().toString(36).slice(2, 10)}`;
}

/** What every new object has; `now` as the cloud tells it. */
export function newObject(now: string): { id: string; createdAt: string; updatedAt: string } {
	return { id: randomUUID(), createdAt: now, updatedAt: now };
}
