import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { account } from "../../settings.ts";
import { loadState, statePath } from "../state.ts";
import { startCloud } from "./cloud-fixture.ts";

const instance = "/instance/v1/zones/fr-par-1";
const project_id = account.projectId;

async function populate(fixture: Awaited<ReturnType<typeof startCloud>>) {
	const { request } = fixture;
	const network = await request("POST", "/vpc/v2/regions/fr-par/private-networks", {
		project_id,
		subnets: ["10.17.0.0/24"],
	});
	const volume = await request("POST", "/block/v1/zones/fr-par-1/volumes", {
		project_id,
		from_empty: { size: 20_000_000_000 },
	});
	await fixture.cloud.settled();
	const images = await request("GET", "/marketplace/v2/local-images?image_label=debian_trixie");
	const { ip } = (await request("POST", `${instance}/ips`, {})).body;
	const created = await request("POST", `${instance}/servers`, {
		name: "front",
		commercial_type: "DEV1-S",
		image: images.body.local_images[0].id,
		volumes: { "0": {}, "1": { id: volume.body.id } },
		public_ips: [ip.id],
	});
	const server = created.body.server;
	await request("PATCH", `${instance}/servers/${server.id}/user_data/cloud-init`, "#cloud-config\n");
	await request("POST", `${instance}/servers/${server.id}/private_nics`, { private_network_id: network.body.id });
	return { server, volume: volume.body, ip, path: `${instance}/servers/${server.id}` };
}

describe("a cloud that was killed", () => {
	it("goes on with the same model and powers on again what should run", async () => {
		const before = await startCloud();
		const { server, volume, ip, path } = await populate(before);
		await before.request("POST", `${path}/action`, { action: "poweron" });
		await before.cloud.settled();
		const paths = [path, `${path}/private_nics`, `${path}/user_data/cloud-init`, `${instance}/ips/${ip.id}`];
		const answers = await Promise.all(paths.map(async (each) => (await before.request("GET", each)).body));
		await before.close();

		const after = await startCloud(before.stateDirectory);
		await after.cloud.settled();
		expect(after.hypervisor.isRunning(server.id)).toBe(true);
		expect(after.hypervisor.volumes.get(volume.id)).toBe(20_000_000_000);
		expect(after.hypervisor.groups.has(ip.address)).toBe(true);
		expect([...after.hypervisor.nics.values()].map((nic) => nic.address)).toEqual(["10.17.0.2/24"]);
		const again = await Promise.all(paths.map(async (each) => (await after.request("GET", each)).body));
		answers[0].server.modification_date = again[0].server.modification_date;
		expect(again).toEqual(answers);
		await after.remove();
	});

	it.each([
		["poweron", "running"],
		["terminate", "gone"],
		["poweroff", "stopped"],
	])("in the middle of %s finishes it: %s", async (action, state) => {
		const before = await startCloud();
		const { server, path } = await populate(before);
		if (action !== "poweron") await before.request("POST", `${path}/action`, { action: "poweron" });
		await before.cloud.settled();
		const release = before.hypervisor.hold();
		expect((await before.request("POST", `${path}/action`, { action })).status).toBe(202);
		await before.close();

		const after = await startCloud(before.stateDirectory);
		await after.cloud.settled();
		const answer = await after.request("GET", path);
		expect(answer.status === 404 ? "gone" : answer.body.server.state).toBe(state);
		expect(after.hypervisor.isRunning(server.id)).toBe(state === "running");
		await after.close();
		release();
		await before.cloud.settled();
		await after.remove();
	});

	it("in the middle of making a volume makes it", async () => {
		const before = await startCloud();
		const release = before.hypervisor.hold();
		const { body: volume } = await before.request("POST", "/block/v1/zones/fr-par-1/volumes", {
			project_id,
			from_empty: { size: 5_000_000_000 },
		});
		expect(volume.status).toBe("creating");
		await before.close();
		const after = await startCloud(before.stateDirectory);
		await after.cloud.settled();
		expect((await after.request("GET", `/block/v1/zones/fr-par-1/volumes/${volume.id}`)).body.status).toBe("available");
		expect(after.hypervisor.volumes.get(volume.id)).toBe(5_000_000_000);
		release();
		await before.cloud.settled();
		await after.remove();
	});
});

describe("the state file", () => {
	it("is readable by root alone and leaves no half-written copy", async () => {
		const fixture = await startCloud();
		await populate(fixture);
		expect(statSync(statePath(fixture.stateDirectory)).mode & 0o777).toBe(0o600);
		expect(readdirSync(fixture.stateDirectory)).toEqual(["cloud.json"]);
		JSON.parse(readFileSync(statePath(fixture.stateDirectory), "utf8"));
		await fixture.remove();
	});

	it("that can't be understood is an error that names file and field, and is not overwritten", async () => {
		const fixture = await startCloud();
		await fixture.close();
		const path = statePath(fixture.stateDirectory);
		const broken = readFileSync(path, "utf8").replace('"version": 1', '"version": 7');
		writeFileSync(path, broken);
		expect(() => loadState(fixture.stateDirectory)).toThrow(/cloud\.json[\s\S]*version/);
		writeFileSync(path, "{");
		expect(() => loadState(fixture.stateDirectory)).toThrow(join(fixture.stateDirectory, "cloud.json"));
		expect(readFileSync(path, "utf8")).toBe("{");
		await fixture.remove();
	});
});
