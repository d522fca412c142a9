import { randomBytes, randomUUID } from "node:crypto";
import type { Hypervisor, SecurityGroupSpec, ServerSpec } from "./hypervisor.ts";
import { dataCentre } from "./hypervisor.ts";
import type { CloudState, PrivateNic, SecurityGroup, Server, Volume } from "./state.ts";

export interface CloudOptions {
	state: CloudState;
	hypervisor: Hypervisor;
	/** Makes the present state durable; called after every change. */
	save: (state: CloudState) => void;
	/** One line for the log. */
	log: (line: string) => void;
}

/** The one image there is. */
export const image = {
	label: "debian_trixie",
	name: "Debian 13 (Trixie)",
	/** Also the id of the marketplace's local image for block storage. */
	id: "33333333-3333-4333-8333-333333333333",
	snapshotId: "44444444-4444-4444-8444-444444444444",
	/** Size of a root volume that names none, in bytes. */
	rootBytes: 10_000_000_000,
} as const;

/** What a security group drops, unless it is told not to: outgoing mail. */
const mailPorts = [25, 465, 587];

/**
 * The life of servers, volumes and NICs: what takes time is started here and changes the model when it is done.
 *
 * Each object's steps run one after the other, in the order they were asked for. What was under way when the process
 * ended is found in the model by its state (`starting`, `creating` …) and taken up again by `resume`.
 */
export class Cloud {
	readonly state: CloudState;
	readonly hypervisor: Hypervisor;
	private readonly options: CloudOptions;
	private readonly chains = new Map<string, Promise<void>>();
	private lastTime = 0;
	/** Whether `resume` has been called: before, nothing but health is answered. */
	isReady = false;

	constructor(options: CloudOptions) {
		this.options = options;
		this.state = options.state;
		this.hypervisor = options.hypervisor;
		this.hypervisor.onExit((serverId) => this.machineEnded(serverId));
	}

	save(): void {
		this.options.save(this.state);
	}

	/** The present time, later than every time given before, so that sorting by date keeps the order of creation. */
	now(): string {
		this.lastTime = Math.max(Date.now(), this.lastTime + 1);
		return new Date(this.lastTime).toISOString();
	}

	/** Resolves once nothing is under way. */
	async settled(): Promise<void> {
		while (this.chains.size > 0) await Promise.all(this.chains.values());
	}

	/** Brings the host to what the model says. Called once, after the hypervisor has started. */
	resume(): void {
		this.ensureDefaults();
		for (const network of Object.values(this.state.privateNetworks)) {
			const subnet = network.subnets.find((each) => !each.isIpv6);
			if (!subnet) continue;
			this.enqueue(`network:${network.id}`, `private network ${network.name}`, () =>
				this.hypervisor.createPrivateNetwork({ id: network.id, subnet: subnet.cidr }),
			);
		}
		for (const volume of Object.values(this.state.volumes)) {
			if (volume.status === "deleting") void this.deleteVolume(volume);
			else this.makeVolume(volume);
		}
		for (const server of Object.values(this.state.servers)) {
			this.prepare(server);
			if (server.state === "running" || server.state === "starting") this.powerOn(server);
			else if (server.stateDetail === "terminating") this.terminate(server);
			else if (server.state === "stopping") this.powerOff(server, server.stateDetail === "stopping in place");
		}
		for (const group of Object.values(this.state.securityGroups)) this.applySecurityGroup(group);
		this.isReady = true;
		this.save();
	}

	/** The project's security group and VPC, which exist without being made. */
	ensureDefaults(): void {
		const now = this.now();
		if (!Object.values(this.state.securityGroups).some((group) => group.isProjectDefault)) {
			const id = randomUUID();
			this.state.securityGroups[id] = {
				id,
				createdAt: now,
				updatedAt: now,
				name: "Default security group",
				description: "Auto generated security group.",
				tags: [],
				stateful: true,
				inboundDefault: "accept",
				outboundDefault: "accept",
				enableDefaultSecurity: true,
				isProjectDefault: true,
				state: "available",
				rules: [],
			};
		}
		if (!Object.values(this.state.vpcs).some((vpc) => vpc.isDefault)) {
			const id = randomUUID();
			this.state.vpcs[id] = {
				id,
				createdAt: now,
				updatedAt: now,
				name: "default",
				tags: [],
				isDefault: true,
				transitivityEnabled: false,
			};
		}
		this.save();
	}

	// Servers

	prepare(server: Server): void {
		this.enqueue(
			`server:${server.id}`,
			`preparing server ${server.name}`,
			() => this.hypervisor.prepareServer({ id: server.id, name: server.name, imageLabel: image.label }),
			(message) => {
				server.stateDetail = `failed: ${message}`;
			},
		);
	}

	powerOn(server: Server): void {
		this.setServerState(server, "starting", "allocating node");
		this.save();
		this.enqueue(
			`server:${server.id}`,
			`powering on server ${server.name}`,
			async () => {
				for (const volumeId of server.volumeIds) await this.chains.get(`volume:${volumeId}`);
				const group = this.state.securityGroups[server.securityGroupId];
				if (group) await this.filter(server, group);
				await this.hypervisor.powerOn(this.serverSpec(server));
				for (const nic of this.nicsOf(server)) await this.plug(server, nic);
				this.setServerState(server, "running", "booting kernel");
			},
			(message) => this.setServerState(server, "stopped", `failed: ${message}`),
		);
	}

	/** `inPlace` keeps the server's place on its node; here only the state's name differs. */
	powerOff(server: Server, inPlace: boolean): void {
		this.setServerState(server, "stopping", inPlace ? "stopping in place" : "stopping");
		this.save();
		this.enqueue(
			`server:${server.id}`,
			`powering off server ${server.name}`,
			async () => {
				await this.hypervisor.powerOff(server.id);
				this.setServerState(server, inPlace ? "stopped in place" : "stopped", "");
			},
			(message) => this.setServerState(server, "running", `failed: ${message}`),
		);
	}

	reboot(server: Server): void {
		this.setServerState(server, "starting", "rebooting");
		this.save();
		this.enqueue(`server:${server.id}`, `powering off server ${server.name} to reboot it`, () =>
			this.hypervisor.powerOff(server.id),
		);
		this.powerOn(server);
	}

	/** Removes the server; its data volumes, booked addresses and public addresses stay. */
	terminate(server: Server): void {
		this.setServerState(server, "stopping", "terminating");
		this.save();
		this.enqueue(
			`server:${server.id}`,
			`deleting server ${server.name}`,
			async () => {
				await this.hypervisor.powerOff(server.id);
				await this.hypervisor.deleteServer(server.id);
				for (const nic of this.nicsOf(server)) {
					await this.hypervisor.unplugNic(server.id, nic.id);
					this.forgetNic(nic);
				}
				for (const id of server.publicIpIds) {
					const ip = this.state.publicIps[id];
					if (!ip) continue;
					await this.hypervisor.removeSecurityGroup(server.id, ip.address);
					ip.serverId = null;
				}
				for (const volume of Object.values(this.state.volumes)) {
					if (volume.reference?.serverId === server.id) this.detachVolume(volume);
				}
				delete this.state.servers[server.id];
			},
			(message) => this.setServerState(server, "stopped", `failed: ${message}`),
		);
	}

	private setServerState(server: Server, state: Server["state"], detail: string): void {
		server.state = state;
		server.stateDetail = detail;
		server.updatedAt = this.now();
	}

	/** A machine that ends by itself (`poweroff` in the guest) keeps its place, as on Scaleway. */
	private machineEnded(serverId: string): void {
		const server = this.state.servers[serverId];
		if (server?.state !== "running" || this.chains.has(`server:${serverId}`)) return;
		this.setServerState(server, "stopped in place", "");
		this.save();
		this.options.log(`server ${server.name} ended by itself`);
	}

	/** An end that was told of in the middle of a step is looked at after it. */
	private noticeEnded(serverId: string): void {
		if (!this.hypervisor.isRunning(serverId)) this.machineEnded(serverId);
	}

	private serverSpec(server: Server): ServerSpec {
		const publicIp = this.state.publicIps[server.publicIpIds[0] ?? ""];
		const userData = server.userData["cloud-init"];
		return {
			id: server.id,
			name: server.name,
			imageLabel: image.label,
			...(userData === undefined ? {} : { userData }),
			sshPublicKeys: Object.values(this.state.sshKeys)
				.filter((key) => !key.disabled)
				.map((key) => key.publicKey),
			...(publicIp
				? {
						publicNic: {
							macAddress: server.macAddress,
							address: `${publicIp.address}/${dataCentre.publicPrefixLength}`,
							gateway: dataCentre.publicGateway,
						},
					}
				: {}),
			volumeIds: server.volumeIds,
		};
	}

	// Block volumes

	/** Makes or grows the volume on the host; its status is settled afterwards. Takes up again what was interrupted. */
	makeVolume(volume: Volume): void {
		this.enqueue(
			`volume:${volume.id}`,
			`making volume ${volume.name}`,
			async () => {
				if (!volume.isRoot) {
					await this.hypervisor.createVolume(volume.id, volume.size);
					await this.hypervisor.resizeVolume(volume.id, volume.size);
				}
				volume.status = volume.reference ? "in_use" : "available";
			},
			() => {
				volume.status = "error";
			},
		);
	}

	/** Changes size (bytes, only more) or IOPS; the volume is `updating` meanwhile and shows the old values. */
	updateVolume(volume: Volume, change: { size?: number; iops?: number }): void {
		volume.status = "updating";
		this.save();
		this.enqueue(
			`volume:${volume.id}`,
			`updating volume ${volume.name}`,
			async () => {
				if (change.size !== undefined && !volume.isRoot) {
					await this.hypervisor.resizeVolume(volume.id, change.size);
				}
				volume.size = change.size ?? volume.size;
				volume.iops = change.iops ?? volume.iops;
				volume.updatedAt = this.now();
				volume.status = volume.reference ? "in_use" : "available";
			},
			() => {
				volume.status = "error";
			},
		);
	}

	/** Resolves once the volume is gone, or is in status `error`. */
	async deleteVolume(volume: Volume): Promise<void> {
		volume.status = "deleting";
		this.save();
		this.enqueue(
			`volume:${volume.id}`,
			`deleting volume ${volume.name}`,
			async () => {
				if (!volume.isRoot) await this.hypervisor.deleteVolume(volume.id);
				delete this.state.volumes[volume.id];
			},
			() => {
				volume.status = "error";
			},
		);
		await this.chains.get(`volume:${volume.id}`);
	}

	attachVolume(volume: Volume, serverId: string): void {
		const now = this.now();
		volume.reference = { id: randomUUID(), serverId, createdAt: now };
		volume.updatedAt = now;
		if (volume.status === "available") volume.status = "in_use";
	}

	detachVolume(volume: Volume): void {
		const now = this.now();
		volume.reference = null;
		volume.lastDetachedAt = now;
		volume.updatedAt = now;
		if (volume.status === "in_use") volume.status = "available";
	}

	// Private NICs

	nicsOf(server: Server): PrivateNic[] {
		return Object.values(this.state.privateNics).filter((nic) => nic.serverId === server.id);
	}

	/** On a stopped server a NIC is there at once and plugged in at the next power-on. */
	attachNic(server: Server, nic: PrivateNic): void {
		if (server.state === "stopped" || server.state === "stopped in place") {
			nic.state = "available";
			this.save();
			return;
		}
		this.save();
		this.enqueue(
			`server:${server.id}`,
			`plugging a NIC into server ${server.name}`,
			async () => {
				if (this.state.privateNics[nic.id] && this.hypervisor.isRunning(server.id)) await this.plug(server, nic);
			},
			() => {
				nic.state = "syncing_error";
			},
		);
	}

	async detachNic(server: Server, nic: PrivateNic): Promise<void> {
		this.forgetNic(nic);
		this.save();
		await this.hypervisor.unplugNic(server.id, nic.id);
	}

	private async plug(server: Server, nic: PrivateNic): Promise<void> {
		await this.chains.get(`network:${nic.privateNetworkId}`);
		const ip = nic.ipamIpIds.map((id) => this.state.ipamIps[id]).find((each) => each && !each.isIpv6);
		if (!ip) throw new Error(`NIC ${nic.id} has no IPv4 address`);
		await this.hypervisor.plugNic(server.id, {
			id: nic.id,
			macAddress: nic.macAddress,
			address: ip.address,
			privateNetworkId: nic.privateNetworkId,
			hostName: server.name,
		});
		if (nic.state !== "available") nic.updatedAt = this.now();
		nic.state = "available";
	}

	/** Booked addresses become free for another NIC, automatic ones vanish. */
	private forgetNic(nic: PrivateNic): void {
		for (const id of nic.ipamIpIds) {
			const ip = this.state.ipamIps[id];
			if (!ip) continue;
			if (ip.isBooked) ip.nicId = null;
			else delete this.state.ipamIps[id];
		}
		delete this.state.privateNics[nic.id];
	}

	// Security groups

	/** Brings a group's rules to all its servers that have a public address. */
	applySecurityGroup(group: SecurityGroup): void {
		const servers = Object.values(this.state.servers).filter(
			(server) => server.securityGroupId === group.id && server.publicIpIds.length > 0,
		);
		if (servers.length === 0) {
			group.state = "available";
			return;
		}
		group.state = "syncing";
		this.save();
		this.enqueue(
			`group:${group.id}`,
			`applying security group ${group.name}`,
			async () => {
				for (const server of servers) await this.filter(server, group);
				group.state = "available";
			},
			() => {
				group.state = "syncing_error";
			},
		);
	}

	private async filter(server: Server, group: SecurityGroup): Promise<void> {
		for (const id of server.publicIpIds) {
			const ip = this.state.publicIps[id];
			if (ip) await this.hypervisor.applySecurityGroup(server.id, ip.address, securityGroupSpec(group));
		}
	}

	/** Cuts a public address off from a server that still runs: its guest keeps the address until it is gone. */
	async cutOff(server: Server, address: string): Promise<void> {
		if (this.hypervisor.isRunning(server.id)) {
			await this.hypervisor.applySecurityGroup(server.id, address, {
				stateful: false,
				inboundDefault: "drop",
				outboundDefault: "drop",
				rules: [],
			});
		} else {
			await this.hypervisor.removeSecurityGroup(server.id, address);
		}
	}

	/** A MAC address that no NIC has: de:00:00 for public ones, 02:00:00 for private ones, as on Scaleway. */
	newMacAddress(prefix: "de:00:00" | "02:00:00"): string {
		const taken = new Set([
			...Object.values(this.state.servers).map((server) => server.macAddress),
			...Object.values(this.state.privateNics).map((nic) => nic.macAddress),
		]);
		for (;;) {
			const address = `${prefix}:${[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`;
			if (!taken.has(address)) return address;
		}
	}

	/** Runs a step after the ones of the same object that are under way. A failure is logged and told to `onError`. */
	private enqueue(key: string, what: string, step: () => Promise<void>, onError?: (message: string) => void): void {
		const before = this.chains.get(key) ?? Promise.resolve();
		const after = before
			.then(step)
			.catch((error: unknown) => {
				const message = error instanceof Error ? error.message : String(error);
				this.options.log(`${what} failed: ${message}`);
				onError?.(message);
			})
			.then(() => {
				if (this.chains.get(key) === after) this.chains.delete(key);
				this.noticeEnded(key.replace(/^server:/, ""));
				this.save();
			});
		this.chains.set(key, after);
	}
}

/** A group as the host enforces it: default security first, then its own rules in their order. */
export function securityGroupSpec(group: SecurityGroup): SecurityGroupSpec {
	const mail = ["0.0.0.0/0", "::/0"].flatMap((ipRange) =>
		mailPorts.map((port) => ({
			direction: "outbound" as const,
			action: "drop" as const,
			protocol: "TCP" as const,
			ipRange,
			portFrom: port,
			portTo: null,
		})),
	);
	return {
		stateful: group.stateful,
		inboundDefault: group.inboundDefault,
		outboundDefault: group.outboundDefault,
		rules: [...(group.enableDefaultSecurity ? mail : []), ...group.rules.map(({ id: _, ...rule }) => rule)],
	};
}
