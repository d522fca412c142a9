import { z } from "zod";
import type { Cloud } from "../cloud.ts";
import { sendNothing } from "./answers.ts";
import { ApiError, find, invalidArgument, notFound } from "./errors.ts";
import { type Api, byIdInZone } from "./route.ts";

const base = "/instance/v1/zones/:zone/servers/:id/user_data";
const byKey = z.strictObject({ ...byIdInZone.shape, key: z.string() });

/** User-data: a server's key-value store; the guest's cloud-init reads the key `cloud-init`. */
export function registerUserData(api: Api, cloud: Cloud): void {
	const { servers } = cloud.state;

	api.get(base, { schema: { params: byIdInZone } }, async ({ params }) => ({
		user_data: Object.keys(find(servers, params.id, "instance_server").userData),
	}));

	api.get(`${base}/:key`, { schema: { params: byKey } }, async ({ params }, reply) => {
		const server = find(servers, params.id, "instance_server");
		const value = Object.hasOwn(server.userData, params.key) ? server.userData[params.key] : undefined;
		if (value === undefined) throw notFound("instance_user_data", params.key);
		return reply
			.header("content-type", "text/plain")
			.serializer((text: unknown) => text as string)
			.send(value);
	});

	api.patch(`${base}/:key`, { schema: { params: byKey } }, async ({ params, body }, reply) => {
		const server = find(servers, params.id, "instance_server");
		if (typeof body !== "string") {
			throw new ApiError(415, { type: "invalid_request_error", message: "user data is sent as text/plain" });
		}
		if (params.key === "__proto__") throw invalidArgument("key", "this key can't be used");
		server.userData[params.key] = body;
		server.updatedAt = cloud.now();
		cloud.save();
		return reply.code(204).header("content-type", "text/plain").send();
	});

	api.delete(`${base}/:key`, { schema: { params: byKey } }, async ({ params }, reply) => {
		const server = find(servers, params.id, "instance_server");
		if (!Object.hasOwn(server.userData, params.key)) throw notFound("instance_user_data", params.key);
		delete server.userData[params.key];
		server.updatedAt = cloud.now();
		cloud.save();
		return sendNothing(reply);
	});
}
