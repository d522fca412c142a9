import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { account } from "../../settings.ts";
import { type CloudFixture, startCloud } from "./cloud-fixture.ts";

const instance = "/instance/v1/zones/fr-par-1";
const block = "/block/v1/zones/fr-par-1";
const vpc = "/vpc/v2/regions/fr-par";
const ipam = "/ipam/v1/regions/fr-par";
const project_id = account.projectId;

let fixture: CloudFixture;
beforeAll(async () => {
	fixture = await startCloud();
});
afterAll(() => fixture.remove());

const get = (path: string) => fixture.request("GET", path);
const post = (path: string, body: unknown) => fixture.request("POST", path, body);
const patch = (path: string, body: unknown) => fixture.request("PATCH", path, body);
const remove = (path: string) => fixture.request("DELETE", path);
const settled = () => fixture.cloud.settled();

async function imageId(): Promise<string> {
	const answer = await get("/marketplace/v2/local-images?image_label=debian_trixie&type=instance_sbs&zone=fr-par-1");
	return answer.body.local_images[0].id;
}

async function createServer(more: object = {}) {
	const answer = await post(`${instance}/servers`, {
		name: "builder-1",
		commercial_type: "DEV1-S",
		image: await imageId(),
		volumes: { "0": { boot: false } },
		project: project_id,
		...more,
	});
	expect(answer.status).toBe(201);
	return answer.body.server;
}

async function act(id: string, action: string) {
	const answer = await post(`${instance}/servers/${id}/action`, { action });
	return answer;
}

async function createNetwork(subnet: string) {
	return (await post(`${vpc}/private-networks`, { name: "n", project_id, subnets: [subnet] })).body;
}

async function createVolume(size = 20_000_000_000) {
	const { body } = await post(`${block}/volumes`, { name: "data", perf_iops: 5000, project_id, from_empty: { size } });
	await settled();
	return body;
}

describe("what is not served", () => {
	it("is a 501 that names method and path", async () => {
		for (const [method, path] of [
			["GET", "/instance/v1/zones/fr-par-1/snapshots"],
			["POST", "/vpc/v2/regions/fr-par/routes"],
			["PUT", "/nothing/at/all"],
		] as const) {
			const answer = await fixture.request(method, `${path}?secret=1`);
			expect(answer.status).toBe(501);
			expect(answer.body).toEqual({
				type: "not_implemented",
				message: `the local cloud does not serve ${method} ${path}`,
			});
		}
	});

	it("names the part of a served request that is missing", async () => {
		const answer = await post(`${instance}/servers`, {
			commercial_type: "DEV1-S",
			image: await imageId(),
			volumes: { "1": { size: 20_000_000_000, volume_type: "sbs_volume" } },
		});
		expect(answer.status).toBe(501);
		expect(answer.body.message).toContain("volumes.1");
	});

	it("refuses an unknown query parameter and an unknown argument by name", async () => {
		const query = await get(`${block}/volumes?colour=blue`);
		expect(query.status).toBe(400);
		expect(query.body.details).toEqual([
			{ argument_name: "colour", reason: "unknown", help_message: "the local cloud does not know this argument" },
		]);
		const body = await post(`${vpc}/vpcs`, { project_id, colour: "blue" });
		expect(body.status).toBe(400);
		expect(body.body.details[0]).toMatchObject({ argument_name: "colour", reason: "unknown" });
		const bare = await get(`${instance}/servers/x?colour=blue`);
		expect(bare.status).toBe(400);
	});
});

describe("authentication", () => {
	it("denies a missing and a wrong secret key, in the shape of Scaleway's answer", async () => {
		for (const token of ["", "33333333-1111-4111-8111-111111111111"]) {
			const answer = await fixture.request("GET", `${instance}/servers`, undefined, { "x-auth-token": token });
			expect(answer.status).toBe(401);
			expect(answer.body).toEqual({
				type: "denied_authentication",
				message: "authentication is denied",
				method: "api_key",
				reason: "not_found",
			});
		}
	});

	it("lets anybody ask for its health", async () => {
		const answer = await fixture.request("GET", "/health", undefined, { "x-auth-token": "" });
		expect([answer.status, answer.body]).toEqual([200, { status: "ok" }]);
	});
});

describe("bad arguments", () => {
	it.each([
		["POST", `${block}/volumes`, { project_id, from_empty: {} }, "from_empty.size", "required"],
		["POST", `${block}/volumes`, { project_id, from_empty: { size: "20" } }, "from_empty.size", "format"],
		["POST", `${block}/volumes`, { project_id, from_empty: { size: 1e9 } }, "from_empty.size", "constraint"],
		["POST", `${vpc}/vpcs`, { project_id: "44444444-2222-4222-8222-222222222222" }, "project_id", "constraint"],
		["POST", `${vpc}/private-networks`, { project_id, subnets: ["10.0.0.1/24"] }, "subnets", "constraint"],
		["POST", `${instance}/ips`, { type: "routed_ipv6" }, "type", "constraint"],
		["POST", `${instance}/servers`, { commercial_type: "DEV1-S" }, "image", "required"],
		["POST", "/iam/v1alpha1/ssh-keys", { public_key: "ssh-ed25519 nonsense" }, "public_key", "constraint"],
	])("%s %s %j names %s", async (method, path, body, name, reason) => {
		const answer = await fixture.request(method, path, body);
		expect(answer.status).toBe(400);
		expect(answer.body).toMatchObject({ type: "invalid_arguments", message: "invalid argument(s)" });
		expect(answer.body.details).toHaveLength(1);
		expect(answer.body.details[0]).toMatchObject({ argument_name: name, reason });
		expect(answer.body.details[0].help_message).not.toBe("");
	});

	it("refuses a type that is not in the zone, another zone, and broken JSON", async () => {
		const type = await post(`${instance}/servers`, { commercial_type: "C2S", image: await imageId() });
		expect(type.body.details[0]).toMatchObject({ argument_name: "commercial_type" });
		const zone = await get("/instance/v1/zones/nl-ams-1/servers");
		expect([zone.status, zone.body.details[0].argument_name]).toEqual([400, "zone"]);
		const json = await fixture.request("POST", `${vpc}/vpcs`, "{", { "content-type": "application/json" });
		expect([json.status, json.body.details[0].help_message]).toEqual([400, "the body is not valid JSON"]);
	});
});

describe("a server's life", () => {
	it("is made stopped, starts with its volumes and user-data, then gets its NIC, and leaves its volume behind", async () => {
		const network = await createNetwork("10.20.0.0/24");
		const { body: booked } = await post(`${ipam}/ips`, {
			project_id,
			source: { private_network_id: network.id },
			address: "10.20.0.31",
		});
		expect(booked.address).toBe("10.20.0.31/24");
		const volume = await createVolume();
		const server = await createServer({ volumes: { "0": {}, "1": { id: volume.id, volume_type: "sbs_volume" } } });
		expect(server.state).toBe("stopped");
		expect(fixture.hypervisor.isRunning(server.id)).toBe(false);
		expect((await get(`${block}/volumes/${volume.id}`)).body).toMatchObject({
			status: "in_use",
			references: [{ product_resource_id: server.id, status: "attached" }],
		});
		expect((await remove(`${block}/volumes/${volume.id}`)).status).toBe(412);

		const userData = `${instance}/servers/${server.id}/user_data/cloud-init`;
		expect((await patch(userData, "#cloud-config\n{}\n")).status).toBe(204);
		expect((await get(userData)).body).toBe("#cloud-config\n{}\n");

		expect((await act(server.id, "poweron")).status).toBe(202);
		await settled();
		expect((await get(`${instance}/servers/${server.id}`)).body.server.state).toBe("running");
		expect(fixture.hypervisor.running.get(server.id)).toMatchObject({
			name: "builder-1",
			imageLabel: "debian_trixie",
			userData: "#cloud-config\n{}\n",
			volumeIds: [volume.id],
		});
		expect(fixture.hypervisor.running.get(server.id)?.publicNic).toBeUndefined();

		const nics = `${instance}/servers/${server.id}/private_nics`;
		const created = await post(nics, { private_network_id: network.id, ipam_ip_ids: [booked.id] });
		expect([created.status, created.body.private_nic.state]).toEqual([201, "syncing"]);
		await settled();
		const { private_nic: nic } = (await get(`${nics}/${created.body.private_nic.id}`)).body;
		expect(nic.state).toBe("available");
		expect(fixture.hypervisor.nics.get(nic.id)).toMatchObject({
			address: "10.20.0.31/24",
			macAddress: nic.mac_address,
			hostName: "builder-1",
		});
		expect((await get(`${ipam}/ips/${booked.id}`)).body.resource).toEqual({
			type: "instance_private_nic",
			id: nic.id,
			mac_address: nic.mac_address.toUpperCase(),
			name: "builder-1",
		});
		expect((await remove(`${vpc}/private-networks/${network.id}`)).status).toBe(412);

		const release = fixture.hypervisor.hold();
		expect((await act(server.id, "terminate")).status).toBe(202);
		expect((await get(`${instance}/servers/${server.id}`)).body.server).toMatchObject({
			state: "stopping",
			state_detail: "terminating",
		});
		release();
		await settled();
		expect((await get(`${instance}/servers/${server.id}`)).body).toMatchObject({
			type: "not_found",
			resource: "instance_server",
		});
		expect(fixture.hypervisor.isRunning(server.id)).toBe(false);
		expect((await get(`${block}/volumes/${volume.id}`)).body).toMatchObject({ status: "available", references: [] });
		expect(fixture.hypervisor.volumes.has(volume.id)).toBe(true);
		expect((await get(`${ipam}/ips/${booked.id}`)).body.resource).toBeNull();

		for (const path of [`${block}/volumes/${volume.id}`, `${ipam}/ips/${booked.id}`]) {
			expect((await remove(path)).status).toBe(204);
			expect((await get(path)).status).toBe(404);
		}
		expect((await remove(`${vpc}/private-networks/${network.id}`)).status).toBe(204);
		expect(fixture.hypervisor.volumes.has(volume.id)).toBe(false);
		expect(fixture.hypervisor.networks.has(network.id)).toBe(false);
	});

	it("plugs a NIC of a stopped server in at power-on", async () => {
		const network = await createNetwork("10.21.0.0/24");
		const server = await createServer();
		const path = `${instance}/servers/${server.id}/private_nics`;
		const { private_nic: nic } = (await post(path, { private_network_id: network.id })).body;
		expect(nic.state).toBe("available");
		expect(fixture.hypervisor.nics.has(nic.id)).toBe(false);
		await act(server.id, "poweron");
		await settled();
		expect(fixture.hypervisor.nics.get(nic.id)?.address).toBe("10.21.0.2/24");
		await remove(`${path}/${nic.id}`);
		expect(fixture.hypervisor.nics.has(nic.id)).toBe(false);
	});

	it("gives a server with a public address its NIC and its security group before it boots", async () => {
		const { security_group: group } = (
			await post(`${instance}/security_groups`, { name: "front", inbound_default_policy: "drop" })
		).body;
		const rule = { action: "accept", protocol: "TCP", direction: "inbound", position: 0, dest_port_from: 22 };
		await fixture.request("PUT", `${instance}/security_groups/${group.id}/rules`, {
			rules: [{ ...rule, ip_range: "0.0.0.0/0" }],
		});
		const { ip } = (await post(`${instance}/ips`, {})).body;
		const server = await createServer({ name: "front", public_ips: [ip.id], security_group: group.id });
		expect(server.public_ip.address).toBe(ip.address);
		await act(server.id, "poweron");
		await settled();
		expect(fixture.hypervisor.running.get(server.id)?.publicNic).toEqual({
			macAddress: server.mac_address,
			address: `${ip.address}/24`,
			gateway: "198.18.0.1",
		});
		const applied = fixture.hypervisor.groups.get(ip.address);
		expect(applied).toMatchObject({ stateful: true, inboundDefault: "drop", outboundDefault: "accept" });
		expect(applied?.rules.filter((each) => each.direction === "inbound")).toEqual([
			{ direction: "inbound", action: "accept", protocol: "TCP", ipRange: "0.0.0.0/0", portFrom: 22, portTo: null },
		]);
		expect(applied?.rules.filter((each) => each.action === "drop").map((each) => each.portFrom)).toEqual([
			25, 465, 587, 25, 465, 587,
		]);

		await patch(`${instance}/security_groups/${group.id}`, { inbound_default_policy: "accept" });
		await settled();
		expect(fixture.hypervisor.groups.get(ip.address)?.inboundDefault).toBe("accept");

		expect((await patch(`${instance}/ips/${ip.id}`, { server: null })).status).toBe(200);
		expect(fixture.hypervisor.groups.get(ip.address)).toEqual({
			stateful: false,
			inboundDefault: "drop",
			outboundDefault: "drop",
			rules: [],
		});
		expect((await patch(`${instance}/ips/${ip.id}`, { server: server.id })).status).toBe(400);
	});

	it("shows a machine that ends by itself as stopped in place", async () => {
		const server = await createServer();
		await act(server.id, "poweron");
		await settled();
		fixture.hypervisor.end(server.id);
		expect((await get(`${instance}/servers/${server.id}`)).body.server.state).toBe("stopped in place");
	});

	it("shows it also when the machine ends while a NIC is being plugged in", async () => {
		const network = await createNetwork("10.25.0.0/24");
		const server = await createServer();
		await act(server.id, "poweron");
		await settled();
		const release = fixture.hypervisor.hold();
		await post(`${instance}/servers/${server.id}/private_nics`, { private_network_id: network.id });
		fixture.hypervisor.end(server.id);
		release();
		await settled();
		expect((await get(`${instance}/servers/${server.id}`)).body.server.state).toBe("stopped in place");
	});

	it("refuses what its state does not allow, and stopping it when it is protected", async () => {
		const server = await createServer({ protected: true });
		expect((await act(server.id, "terminate")).status).toBe(400);
		await act(server.id, "poweron");
		await settled();
		for (const action of ["poweroff", "stop_in_place", "reboot", "terminate"]) {
			expect((await act(server.id, action)).body).toMatchObject({
				type: "precondition_failed",
				precondition: "protected_resource",
			});
		}
		await patch(`${instance}/servers/${server.id}`, { protected: false });
		expect((await act(server.id, "poweroff")).status).toBe(202);
		await settled();
		expect((await remove(`${instance}/servers/${server.id}`)).status).toBe(204);
		await settled();
		expect((await get(`${instance}/servers/${server.id}`)).status).toBe(404);
	});

	it("says why a server did not start, and starts it when the reason is gone", async () => {
		const server = await createServer();
		fixture.hypervisor.failing.add("powerOn");
		await act(server.id, "poweron");
		await settled();
		fixture.hypervisor.failing.delete("powerOn");
		expect((await get(`${instance}/servers/${server.id}`)).body.server).toMatchObject({
			state: "stopped",
			state_detail: "failed: powerOn was told to fail",
		});
		expect(fixture.lines.join("\n")).toContain("powering on server builder-1 failed: powerOn was told to fail");
		await act(server.id, "poweron");
		await settled();
		expect(fixture.hypervisor.isRunning(server.id)).toBe(true);
	});

	it("writes neither user-data nor the secret key to the log", async () => {
		const server = await createServer();
		await patch(`${instance}/servers/${server.id}/user_data/cloud-init`, "#cloud-config\n# hush-hush\n");
		const log = fixture.lines.join("\n");
		expect(log).toContain(`PATCH ${instance}/servers/${server.id}/user_data/cloud-init 204`);
		expect(log).not.toContain("hush-hush");
		expect(log).not.toContain(account.secretKey);
	});
});

describe("block volumes", () => {
	it("grow and never shrink", async () => {
		const volume = await createVolume(20_000_000_000);
		const path = `${block}/volumes/${volume.id}`;
		expect((await patch(path, { size: 30_000_000_000 })).body).toMatchObject({
			status: "updating",
			size: 20_000_000_000,
		});
		await settled();
		expect((await get(path)).body).toMatchObject({ status: "available", size: 30_000_000_000 });
		expect(fixture.hypervisor.volumes.get(volume.id)).toBe(30_000_000_000);
		expect((await patch(path, { size: 10_000_000_000 })).body.details[0].argument_name).toBe("size");
	});

	it("are attached to a server that is off, and to one server only", async () => {
		const volume = await createVolume();
		const first = await createServer();
		const slots = (server: { volumes: Record<string, { id: string }> }) => ({
			volumes: { "0": { id: server.volumes["0"]?.id }, "1": { id: volume.id, volume_type: "sbs_volume" } },
		});
		expect((await patch(`${instance}/servers/${first.id}`, slots(first))).status).toBe(200);
		const second = await createServer();
		expect((await patch(`${instance}/servers/${second.id}`, slots(second))).status).toBe(400);
		await act(first.id, "poweron");
		await settled();
		const detach = { volumes: { "0": { id: first.volumes["0"].id } } };
		expect((await patch(`${instance}/servers/${first.id}`, detach)).status).toBe(501);
		expect((await patch(`${instance}/servers/${first.id}`, slots(first))).status).toBe(200);
	});

	it("show the error status when the host fails", async () => {
		fixture.hypervisor.failing.add("createVolume");
		const volume = await createVolume();
		fixture.hypervisor.failing.delete("createVolume");
		expect((await get(`${block}/volumes/${volume.id}`)).body.status).toBe("error");
	});
});

describe("addresses", () => {
	it("are the lowest free one, never the first or last two of the block, and never given twice", async () => {
		const network = await createNetwork("10.22.0.0/29");
		const book = (address?: string) =>
			post(`${ipam}/ips`, { project_id, source: { private_network_id: network.id }, address });
		expect((await book()).body.address).toBe("10.22.0.2/29");
		expect((await book("10.22.0.4")).status).toBe(200);
		expect((await book("10.22.0.4")).status).toBe(409);
		for (const kept of ["10.22.0.0", "10.22.0.1", "10.22.0.6", "10.22.0.7", "10.23.0.2"]) {
			expect((await book(kept)).body.details?.[0].argument_name).toBe("address");
		}
		expect((await book()).body.address).toBe("10.22.0.3/29");
		expect((await book("10.22.0.5")).status).toBe(200);
		expect((await book()).body.type).toBe("quotas_exceeded");
	});

	it("of overlapping private networks are refused", async () => {
		await createNetwork("10.24.0.0/22");
		const answer = await post(`${vpc}/private-networks`, { project_id, subnets: ["10.24.1.0/24"] });
		expect(answer.body.details[0].help_message).toBe("10.24.1.0/24 overlaps 10.24.0.0/22");
	});
});

describe("lists", () => {
	it("come in pages, with the total in the header (instance) or the body (the others)", async () => {
		const types = await get(`${instance}/products/servers?page=2&per_page=10`);
		const total = Number(types.headers.get("x-total-count"));
		expect(total).toBeGreaterThan(20);
		expect(Object.keys(types.body.servers)).toHaveLength(10);
		expect(types.body.servers["PLAY2-MICRO"]).toBeDefined();
		const all = (await get(`${instance}/products/servers`)).body.servers;
		expect(Object.keys(all)).toHaveLength(total);
		expect(all.VC1S).toMatchObject({ end_of_service: true, ncpus: 2, ram: 2147483648, hourly_price: 0.00862 });

		for (const name of ["one", "two", "three"]) await post(`${vpc}/vpcs`, { name: `page-${name}`, project_id });
		const vpcs = (await get(`${vpc}/vpcs?name=page-&page_size=2&page=2`)).body;
		expect([vpcs.total_count, vpcs.vpcs.map((each: { name: string }) => each.name)]).toEqual([3, ["page-three"]]);
	});
});
