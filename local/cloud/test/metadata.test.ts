import { request } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createMetadataService } from "../api/metadata.ts";
import { type CloudFixture, startCloud } from "./cloud-fixture.ts";

let fixture: CloudFixture;
let port: number;
let server: { id: string };
const lines: string[] = [];
let service: ReturnType<typeof createMetadataService>;

beforeAll(async () => {
	fixture = await startCloud();
	service = createMetadataService(fixture.cloud.state, (line) => lines.push(line));
	await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
	port = (service.address() as AddressInfo).port;
	const images = await fixture.request("GET", "/marketplace/v2/local-images");
	const { ip } = (await fixture.request("POST", "/instance/v1/zones/fr-par-1/ips", {})).body;
	await fixture.request("POST", "/iam/v1alpha1/ssh-keys", {
		name: "deploy",
		public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICJEoOOgQBLJPs4g/XcPTKT82NywNPpxeuA20FlOPlpO",
	});
	const created = await fixture.request("POST", "/instance/v1/zones/fr-par-1/servers", {
		name: "front",
		commercial_type: "DEV1-S",
		image: images.body.local_images[0].id,
		public_ips: [ip.id],
		tags: ["role=front"],
	});
	server = created.body.server;
	await fixture.request(
		"PATCH",
		`/instance/v1/zones/fr-par-1/servers/${server.id}/user_data/cloud-init`,
		"#cloud-config\n# für front\n",
	);
	// The service knows a machine by its source address; on loopback that is one of 127.0.0.0/8.
	for (const each of Object.values(fixture.cloud.state.publicIps)) each.address = "127.0.0.100";
});
afterAll(async () => {
	service.close();
	await fixture.remove();
});

function ask(path: string, from: { localAddress: string; localPort?: number }, method = "GET") {
	return new Promise<{ status: number; body: string }>((resolve, reject) => {
		const outgoing = request({ host: "127.0.0.1", port, path, method, agent: false, ...from }, (response) => {
			let body = "";
			response.setEncoding("utf8");
			response.on("data", (chunk) => {
				body += chunk;
			});
			response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
		});
		outgoing.on("error", reject);
		outgoing.end();
	});
}
const front = { localAddress: "127.0.0.100" };

it("tells a machine who it is, with what cloud-init's datasource needs", async () => {
	const answer = await ask("/conf?format=json", front);
	expect(answer.status).toBe(200);
	expect(JSON.parse(answer.body)).toMatchObject({
		id: server.id,
		hostname: "front",
		tags: ["role=front"],
		zone: "fr-par-1",
		ipv6: null,
		public_ips: [{ address: "127.0.0.100", netmask: "24", family: "inet", gateway: "198.18.0.1" }],
		ssh_public_keys: [{ key: expect.stringMatching(/^ssh-ed25519 /) }],
	});
});

it("gives user-data byte for byte to a privileged source port only, and never logs it", async (context) => {
	const high = await ask("/user_data/cloud-init", front);
	expect(high.status).toBe(403);
	expect(high.body).not.toContain("cloud-config");
	if (process.getuid?.() !== 0) return context.skip("a source port below 1024 needs root");
	const low = await ask("/user_data/cloud-init", { ...front, localPort: 611 });
	expect(low).toEqual({ status: 200, body: "#cloud-config\n# für front\n" });
	expect((await ask("/user_data/nothing", { ...front, localPort: 612 })).status).toBe(404);
	expect(lines.join("\n")).toContain("metadata 127.0.0.100 GET /user_data/cloud-init 200");
	expect(lines.join("\n")).not.toContain("für front");
});

it("has no vendor data, nothing for strangers, and names what it does not serve", async () => {
	expect((await ask("/vendor_data/cloud-init", front)).status).toBe(404);
	expect((await ask("/conf?format=json", { localAddress: "127.0.0.101" })).status).toBe(403);
	const unknown = await ask("/filesystems", front);
	expect([unknown.status, JSON.parse(unknown.body).message]).toEqual([
		501,
		"the local cloud's metadata service does not serve /filesystems",
	]);
	expect((await ask("/user_data/x", front, "PATCH")).status).toBe(501);
});
