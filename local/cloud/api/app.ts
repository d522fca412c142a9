import { isUtf8 } from "node:buffer";
import { timingSafeEqual } from "node:crypto";
import fastify, { type FastifyError } from "fastify";
import {
	hasZodFastifySchemaValidationErrors,
	validatorCompiler,
	type ZodTypeProvider,
} from "fastify-type-provider-zod";
import { z } from "zod";
import { account } from "../../settings.ts";
import type { Cloud } from "../cloud.ts";
import { registerBlock } from "./block.ts";
import { ApiError, type ArgumentProblem, authenticationDenied, invalidArguments, notServed } from "./errors.ts";
import { registerIam } from "./iam.ts";
import { registerIpam } from "./ipam.ts";
import { registerMarketplace } from "./marketplace.ts";
import { registerPrivateNics } from "./private-nics.ts";
import { registerPublicIps } from "./public-ips.ts";
import type { Api } from "./route.ts";
import { registerSecurityGroups } from "./security-groups.ts";
import { registerServers } from "./servers.ts";
import { registerUserData } from "./user-data.ts";
import { registerVpc } from "./vpc.ts";

/**
 * The HTTP API of the local cloud: what is registered here is served, every other request is answered 501.
 *
 * @param log gets one line a request: method, path, status, milliseconds. Never bodies or headers.
 */
export function createApi(cloud: Cloud, log: (line: string) => void): Api {
	const api: Api = fastify({ forceCloseConnections: true }).withTypeProvider<ZodTypeProvider>();
	api.setValidatorCompiler(validatorCompiler);
	api.setSerializerCompiler(() => (data) => JSON.stringify(data));
	parseBodies(api);
	api.addHook("onRoute", (route) => {
		route.schema = { querystring: z.strictObject({}), ...route.schema };
	});
	api.addHook("onRequest", async (request) => {
		if (request.url === "/health") return;
		if (!cloud.isReady) {
			throw new ApiError(503, { type: "unavailable", message: "the local cloud is starting; try again in a moment" });
		}
		if (!isSecretKey(request.headers["x-auth-token"])) throw authenticationDenied();
	});
	api.addHook("onSend", async (_request, reply) => {
		// Scaleway's own JavaScript client knows JSON by this exact type, without a charset.
		if (String(reply.getHeader("content-type")).startsWith("application/json")) {
			reply.header("content-type", "application/json");
		}
	});
	api.addHook("onResponse", async (request, reply) => {
		log(`${request.method} ${request.url} ${reply.statusCode} ${Math.round(reply.elapsedTime)} ms`);
	});
	api.setNotFoundHandler((request) => {
		throw notServed(`${request.method} ${request.url.split("?")[0]}`);
	});
	api.setErrorHandler((error: FastifyError, request, reply) => {
		const answer = toApiError(error);
		if (answer.status === 500) log(`${request.method} ${request.url}: ${error.stack ?? error.message}`);
		reply.code(answer.status).send(answer.body);
	});

	api.get("/health", async (_request, reply) =>
		cloud.isReady ? { status: "ok" } : reply.code(503).send({ status: "starting" }),
	);
	registerServers(api, cloud);
	registerUserData(api, cloud);
	registerPrivateNics(api, cloud);
	registerPublicIps(api, cloud);
	registerSecurityGroups(api, cloud);
	registerBlock(api, cloud);
	registerVpc(api, cloud);
	registerIpam(api, cloud);
	registerMarketplace(api);
	registerIam(api, cloud);
	return api;
}

/** Fastify's own parser refuses an empty JSON body, which some clients send with a DELETE. */
function parseBodies(api: Api): void {
	api.removeAllContentTypeParsers();
	api.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
		if (body === "") return done(null, undefined);
		try {
			done(null, JSON.parse(body as string));
		} catch {
			done(
				invalidArguments({ argument_name: "body", reason: "format", help_message: "the body is not valid JSON" }),
				undefined,
			);
		}
	});
	api.addContentTypeParser("text/plain", { parseAs: "buffer" }, (_request, body, done) => {
		if (isUtf8(body as Buffer)) return done(null, (body as Buffer).toString("utf8"));
		done(
			invalidArguments({ argument_name: "body", reason: "format", help_message: "the body is not valid UTF-8" }),
			undefined,
		);
	});
}

function isSecretKey(token: string | string[] | undefined): boolean {
	const given = Buffer.from(String(token ?? ""));
	const expected = Buffer.from(account.secretKey);
	return given.length === expected.length && timingSafeEqual(given, expected);
}

function toApiError(error: FastifyError): ApiError {
	if (error instanceof ApiError) return error;
	if (hasZodFastifySchemaValidationErrors(error)) {
		return invalidArguments(
			...error.validation.flatMap((each) => problems(each.instancePath, each.keyword, each.message ?? "", each.params)),
		);
	}
	if (error.statusCode === 415) {
		return new ApiError(415, { type: "invalid_request_error", message: error.message });
	}
	return new ApiError(error.statusCode ?? 500, { type: "internal_error", message: error.message });
}

function problems(path: string, code: string, message: string, params: unknown): ArgumentProblem[] {
	const name = path.replace(/^\//, "").replaceAll("/", ".");
	const unknown = (params as { keys?: string[] } | undefined)?.keys;
	if (code === "unrecognized_keys" && unknown) {
		return unknown.map((key) => ({
			argument_name: name === "" ? key : `${name}.${key}`,
			reason: "unknown",
			help_message: "the local cloud does not know this argument",
		}));
	}
	const isMissing = code === "invalid_type" && message.includes("received undefined");
	return [
		{
			argument_name: name === "" ? "body" : name,
			reason: isMissing ? "required" : code === "invalid_type" ? "format" : "constraint",
			help_message: message,
		},
	];
}
