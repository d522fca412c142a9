import type { Hypervisor, NicSpec, SecurityGroupSpec, ServerSpec } from "../hypervisor.ts";

/** A host that keeps books only, and refuses what a real one could not do: wrong order, missing parts. */
export class MemoryHypervisor implements Hypervisor {
	readonly prepared = new Map<string, string>();
	readonly running = new Map<string, ServerSpec>();
	readonly volumes = new Map<string, number>();
	readonly networks = new Map<string, string>();
	readonly nics = new Map<string, NicSpec & { serverId: string }>();
	readonly groups = new Map<string, SecurityGroupSpec>();
	private readonly exitCallbacks: ((id: string) => void)[] = [];
	/** Names of methods that fail with a message, for a test to set. */
	readonly failing = new Set<keyof Hypervisor>();

	private gate = Promise.resolve();

	/** From now on powering on and off, plugging NICs and making volumes wait until the returned function is called. */
	hold(): () => void {
		let release = () => {};
		this.gate = new Promise((resolve) => {
			release = resolve;
		});
		return release;
	}

	async start(): Promise<void> {}

	async stop(): Promise<void> {
		this.running.clear();
	}

	async createVolume(id: string, bytes: number): Promise<void> {
		this.check("createVolume");
		await this.gate;
		if (!this.volumes.has(id)) this.volumes.set(id, bytes);
	}

	async resizeVolume(id: string, bytes: number): Promise<void> {
		const present = this.volumes.get(id);
		if (present === undefined) throw new Error(`there is no volume ${id}`);
		if (bytes < present) throw new Error(`volume ${id} would shrink`);
		this.volumes.set(id, bytes);
	}

	async deleteVolume(id: string): Promise<void> {
		for (const server of this.running.values()) {
			if (server.volumeIds.includes(id)) throw new Error(`volume ${id} is in use`);
		}
		this.volumes.delete(id);
	}

	async prepareServer(server: { id: string; imageLabel: string }): Promise<void> {
		this.check("prepareServer");
		this.prepared.set(server.id, server.imageLabel);
	}

	async powerOn(server: ServerSpec): Promise<void> {
		this.check("powerOn");
		await this.gate;
		if (!this.prepared.has(server.id)) throw new Error(`server ${server.id} is not prepared`);
		for (const id of server.volumeIds) if (!this.volumes.has(id)) throw new Error(`there is no volume ${id}`);
		if (!this.running.has(server.id)) this.running.set(server.id, structuredClone(server));
	}

	async powerOff(id: string): Promise<void> {
		await this.gate;
		this.end(id);
	}

	/** The machine ends, as if its guest had powered off. */
	end(id: string): void {
		if (!this.running.delete(id)) return;
		for (const callback of this.exitCallbacks) callback(id);
	}

	async deleteServer(id: string): Promise<void> {
		if (this.running.has(id)) throw new Error(`server ${id} runs`);
		this.prepared.delete(id);
	}

	isRunning(id: string): boolean {
		return this.running.has(id);
	}

	onExit(callback: (id: string) => void): void {
		this.exitCallbacks.push(callback);
	}

	async createPrivateNetwork(network: { id: string; subnet: string }): Promise<void> {
		this.check("createPrivateNetwork");
		this.networks.set(network.id, network.subnet);
	}

	async deletePrivateNetwork(id: string): Promise<void> {
		for (const nic of this.nics.values()) {
			if (nic.privateNetworkId === id) throw new Error(`NIC ${nic.id} is on network ${id}`);
		}
		this.networks.delete(id);
	}

	async plugNic(serverId: string, nic: NicSpec): Promise<void> {
		this.check("plugNic");
		await this.gate;
		if (!this.running.has(serverId)) throw new Error(`server ${serverId} does not run`);
		if (!this.networks.has(nic.privateNetworkId)) throw new Error(`there is no network ${nic.privateNetworkId}`);
		this.nics.set(nic.id, { ...nic, serverId });
	}

	async unplugNic(_serverId: string, nicId: string): Promise<void> {
		this.nics.delete(nicId);
	}

	async applySecurityGroup(_serverId: string, publicAddress: string, group: SecurityGroupSpec): Promise<void> {
		this.check("applySecurityGroup");
		this.groups.set(publicAddress, structuredClone(group));
	}

	async removeSecurityGroup(_serverId: string, publicAddress: string): Promise<void> {
		this.groups.delete(publicAddress);
	}

	private check(method: keyof Hypervisor): void {
		if (this.failing.has(method)) throw new Error(`${method} was told to fail`);
	}
}
