import { Blockv1 } from "@scaleway/sdk-block";
import { createClient } from "@scaleway/sdk-client";
import { Iamv1alpha1 } from "@scaleway/sdk-iam";
import { Instancev1 } from "@scaleway/sdk-instance";
import { Ipamv1 } from "@scaleway/sdk-ipam";
import { Marketplacev2 } from "@scaleway/sdk-marketplace";
import { Vpcv2 } from "@scaleway/sdk-vpc";
import { afterAll, beforeAll, expect, it } from "vitest";
import { account } from "../../settings.ts";
import { type CloudFixture, startCloud } from "./cloud-fixture.ts";

let fixture: CloudFixture;
beforeAll(async () => {
	fixture = await startCloud();
});
afterAll(() => fixture.remove());

function clients(secretKey: string = account.secretKey) {
	const client = createClient({
		accessKey: account.accessKey,
		secretKey,
		apiURL: fixture.url,
		defaultProjectId: account.projectId,
		defaultOrganizationId: account.projectId,
		defaultRegion: account.region,
		defaultZone: account.zone,
	});
	return {
		instance: new Instancev1.API(client),
		block: new Blockv1.API(client),
		iam: new Iamv1alpha1.API(client),
		ipam: new Ipamv1.API(client),
		marketplace: new Marketplacev2.API(client),
		vpc: new Vpcv2.API(client),
	};
}
const quickly = { minDelay: 1, maxDelay: 1, timeout: 30 };

it("serves a machine's whole life to Scaleway's own clients", async () => {
	const { instance, block, iam, ipam, marketplace, vpc } = clients();
	const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICJEoOOgQBLJPs4g/XcPTKT82NywNPpxeuA20FlOPlpO";
	const key = await iam.createSSHKey({ name: "deploy", publicKey: `${publicKey} someone@somewhere` });
	expect(key.publicKey).toBe(publicKey);
	expect(key.fingerprint).toBe("256 MD5:6b:cd:72:8a:ae:45:24:4b:2b:72:f6:d0:6a:8d:16:06 (ssh-ed25519)");
	expect((await iam.listSSHKeys().all()).map((each) => each.id)).toEqual([key.id]);

	const { id: vpcId } = await vpc.createVPC({ name: "flathub", enableRouting: true });
	const network = await vpc.createPrivateNetwork({
		name: "flathub",
		vpcId,
		subnets: ["10.17.0.0/24"],
		defaultRoutePropagationEnabled: false,
	});
	expect(network.subnets.map((subnet) => subnet.subnet)).toContain("10.17.0.0/24");
	const booked = await ipam.bookIP({ source: { privateNetworkId: network.id }, isIpv6: false, address: "10.17.0.2" });
	expect(booked.address).toBe("10.17.0.2/24");

	const { securityGroup } = await instance.createSecurityGroup({
		name: "front",
		description: "front's public side",
		projectDefault: false,
		stateful: true,
		inboundDefaultPolicy: "drop",
		outboundDefaultPolicy: "accept",
	});
	if (!securityGroup) throw new Error("no security group");
	const { rules } = await instance.setSecurityGroupRules({
		securityGroupId: securityGroup.id,
		rules: [
			{ action: "accept", protocol: "TCP", direction: "inbound", ipRange: "0.0.0.0/0", destPortFrom: 22, position: 0 },
		],
	});
	expect(rules.filter((rule) => rule.editable).map((rule) => rule.destPortFrom)).toEqual([22]);
	const { ip } = await instance.createIp({});
	if (!ip) throw new Error("no address");

	const volume = await block.createVolume({ name: "data", fromEmpty: { size: 20_000_000_000 }, perfIops: 5000 });
	await block.waitForVolume({ volumeId: volume.id }, quickly);
	const { localImages } = await marketplace.listLocalImages({
		imageLabel: "debian_trixie",
		zone: account.zone,
		type: "instance_sbs",
	});
	const image = localImages[0];
	expect(image?.compatibleCommercialTypes).toContain("DEV1-S");
	expect(await marketplace.getLocalImage({ localImageId: image?.id ?? "" })).toEqual(image);
	const types = await instance.listServersTypes();
	expect(types.servers["DEV1-S"]).toMatchObject({ ncpus: 2, hourlyPrice: 0.008976 });

	const created = await instance.createServer({
		name: "front",
		commercialType: "DEV1-S",
		image: image?.id ?? "",
		dynamicIpRequired: false,
		volumes: { "0": { boot: false, volumeType: "sbs_volume" }, "1": { id: volume.id, volumeType: "sbs_volume" } },
		publicIps: [ip.id],
		securityGroup: securityGroup.id,
		tags: ["role=front"],
		protected: false,
	});
	const serverId = created.server?.id ?? "";
	expect(created.server).toMatchObject({ state: "stopped", publicIps: [{ address: ip.address }] });
	await instance.serverAction({ serverId, action: "poweron" });
	const running = await instance.waitForServer({ serverId }, quickly);
	expect(running.state).toBe("running");
	expect(Object.values(running.volumes).map((each) => each.id)).toContain(volume.id);
	expect((await instance.listServers({ tags: ["role=front"] })).servers.map((each) => each.id)).toEqual([serverId]);

	const { privateNic } = await instance.createPrivateNIC({
		serverId,
		privateNetworkId: network.id,
		ipamIpIds: [booked.id],
	});
	const nic = await instance.waitForPrivateNIC({ serverId, privateNicId: privateNic?.id ?? "" }, quickly);
	expect(nic).toMatchObject({ state: "available", macAddress: expect.stringMatching(/^02:00:00/) });
	const { ips } = await ipam.listIPs({ resourceId: nic.id, resourceType: "instance_private_nic" });
	expect(ips.map((each) => each.address)).toContain("10.17.0.2/24");

	await instance.deletePrivateNIC({ serverId, privateNicId: nic.id });
	await instance.serverAction({ serverId, action: "terminate" });
	await expect(instance.waitForServer({ serverId }, quickly)).rejects.toMatchObject({ status: 404 });
	await block.deleteVolume({ volumeId: volume.id });
	await instance.deleteIp({ ip: ip.id });
	await instance.deleteSecurityGroup({ securityGroupId: securityGroup.id });
	await ipam.releaseIP({ ipId: booked.id });
	await vpc.deletePrivateNetwork({ privateNetworkId: network.id });
	await vpc.deleteVPC({ vpcId });
	await iam.deleteSSHKey({ sshKeyId: key.id });
});

it("gives its refusals as the clients' own error types", async () => {
	const { instance, vpc } = clients();
	await expect(instance.getServer({ serverId: account.projectId })).rejects.toMatchObject({
		name: "ResourceNotFoundError",
		resource: "instance_server",
	});
	await expect(
		vpc.createPrivateNetwork({ subnets: ["nonsense"], defaultRoutePropagationEnabled: false }),
	).rejects.toMatchObject({
		name: "InvalidArgumentsError",
	});
	await expect(clients(account.projectId).instance.listServers()).rejects.toMatchObject({
		name: "DeniedAuthenticationError",
	});
	await expect(instance.listSnapshots()).rejects.toMatchObject({ status: 501 });
});
