import { createServer, type Server as HttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { account } from "../../settings.ts";
import type { CloudState, Server } from "../state.ts";
import { presentOnServer } from "./public-ips.ts";

/** User-data is given only to who can bind a port below this one: the guest's root. */
const firstUnprivilegedPort = 1024;

/**
 * The metadata service, which a machine with a public NIC reaches at 169.254.42.42. It knows a machine by the public
 * address its request comes from, so nothing between the two may translate addresses.
 */
export function createMetadataService(state: CloudState, log: (line: string) => void): HttpServer {
	return createServer((request, response) => {
		const address = (request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
		const status = answer(state, request, response, address);
		log(`metadata ${address} ${request.method} ${request.url} ${status}`);
	});
}

function answer(state: CloudState, request: IncomingMessage, response: ServerResponse, address: string): number {
	const send = (status: number, contentType: string, body: string): number => {
		// This side closes first: cloud-init asks again and again from source port 1, which must not stay in TIME_WAIT there.
		response.useChunkedEncodingByDefault = false;
		response.shouldKeepAlive = false;
		response.writeHead(status, { "content-type": contentType });
		response.end(request.method === "HEAD" ? undefined : body);
		return status;
	};
	const sendJson = (status: number, body: unknown) => send(status, "application/json", JSON.stringify(body));
	const server = serverAt(state, address);
	const [path = "/", query = ""] = (request.url ?? "/").split("?");

	if (request.method !== "GET" && request.method !== "HEAD") {
		return sendJson(501, { message: `the local cloud's metadata service does not serve ${request.method} ${path}` });
	}
	if (path === "/")
		return sendJson(200, { api: "api-metadata", description: "Metadata API, just query http://169.254.42.42/conf" });
	if (!server) return sendJson(403, { message: `no server has the public address ${address}` });
	if (path === "/conf") {
		if (query === "format=json") return sendJson(200, metadata(state, server));
		return sendJson(501, { message: "the local cloud's metadata service serves /conf?format=json only" });
	}
	if (path === "/vendor_data/cloud-init") return sendJson(404, { message: "no vendor data" });
	const key = /^\/user_data(?:\/([^/]*))?$/.exec(path);
	if (!key) return sendJson(501, { message: `the local cloud's metadata service does not serve ${path}` });
	if ((request.socket.remotePort ?? firstUnprivilegedPort) >= firstUnprivilegedPort) {
		return sendJson(403, { message: "user data is given to a source port below 1024 only" });
	}
	if (!key[1]) return sendJson(200, { user_data: Object.keys(server.userData) });
	const value = Object.hasOwn(server.userData, key[1]) ? server.userData[key[1]] : undefined;
	if (value === undefined) return sendJson(404, { message: `no user data ${key[1]}` });
	return send(200, "text/plain", value);
}

function serverAt(state: CloudState, address: string): Server | undefined {
	const ip = Object.values(state.publicIps).find((each) => each.address === address);
	return ip?.serverId ? state.servers[ip.serverId] : undefined;
}

function metadata(state: CloudState, server: Server): Record<string, unknown> {
	const ips = server.publicIpIds.flatMap((id) => state.publicIps[id] ?? []).map(presentOnServer);
	return {
		id: server.id,
		name: server.name,
		hostname: server.name,
		commercial_type: server.commercialType,
		organization: account.projectId,
		project: account.projectId,
		tags: server.tags,
		state_detail: server.stateDetail,
		public_ip: ips[0] ?? null,
		public_ips_v4: ips,
		public_ips_v6: [],
		public_ips: ips,
		private_ip: null,
		ipv6: null,
		private_nics: Object.values(state.privateNics)
			.filter((nic) => nic.serverId === server.id)
			.map((nic) => ({ id: nic.id, private_network_id: nic.privateNetworkId, mac_address: nic.macAddress })),
		ssh_public_keys: Object.values(state.sshKeys)
			.filter((key) => !key.disabled)
			.map((key) => ({ key: key.publicKey, fingerprint: key.fingerprint })),
		timezone: "UTC",
		bootscript: null,
		extra_networks: [],
		location: { zone_id: account.zone, platform_id: "14", cluster_id: "19", hypervisor_id: "1", node_id: "1" },
		zone: account.zone,
		volumes: {},
	};
}
