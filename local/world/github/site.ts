import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { join, normalize } from "node:path";
import type { FastifyReply, FastifyRequest } from "fastify";

/** Path prefix → folder. */
export type Site = Record<string, string>;

/** Answer a GET or HEAD request with a file below one of the site's folders. */
export async function serveFile(site: Site, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
	const path = decodePath(request.url);
	const prefix = Object.keys(site)
		.filter((candidate) => path?.startsWith(candidate))
		.sort((a, b) => b.length - a.length)[0];
	if (path === undefined || prefix === undefined || path.includes("\0")) return notFound(reply);
	// `normalize` of an absolute path never leads above `/`, so what is joined stays below the folder.
	const file = join(site[prefix] as string, normalize(`/${path.slice(prefix.length)}`));
	const info = await stat(file).catch(() => undefined);
	if (!info?.isFile()) return notFound(reply);
	const modified = info.mtime.toUTCString();
	reply.header("last-modified", modified);
	if (request.headers["if-modified-since"] === modified) return reply.code(304).send();
	reply.header("content-length", info.size).header("content-type", "application/octet-stream");
	return request.method === "HEAD" ? reply.send() : reply.send(createReadStream(file));
}

function decodePath(url: string): string | undefined {
	try {
		return decodeURIComponent(url.split("?")[0] as string);
	} catch {
		return undefined;
	}
}

function notFound(reply: FastifyReply) {
	return reply.code(404).type("text/plain").send("not found\n");
}
