import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import type { RunOptions } from "../../../process/run.ts";
import { unmountBelow } from "../../mount.ts";
import { localSettings } from "../../settings.ts";
import type {
	CreateHypervisor,
	Hypervisor,
	NicSpec,
	PrivateNetworkSpec,
	PublicNicSpec,
	SecurityGroupSpec,
} from "../hypervisor.ts";
import { Cgroup } from "./cgroup.ts";
import { bridgeServer, type DnsServer, forwarder, reserve, startServer, stopServer } from "./dns.ts";
import { enter } from "./enter.ts";
import { applyDataCentreRules, applyHostRules } from "./firewall.ts";
import { ensureImage } from "./image.ts";
import * as machine from "./machine.ts";
import * as network from "./network.ts";
import {
	type AddressPlan,
	bridgeName,
	defaultPlan,
	firstAddress,
	forwarderPort,
	privateResolver,
	publicBridge,
} from "./plan.ts";
import { checkRequirements } from "./requirements.ts";
import { entries, type Place, readJson, writeJson } from "./state.ts";
import { Turns } from "./turns.ts";
import * as volume from "./volume.ts";

export interface HostOptions {
	/** Default: the local Flathub's state; the host keeps to the folder `host` in it. */
	stateDirectory?: string;
	/** Default: the local Flathub's cache; the images are in the folder `image` of it. */
	cacheDirectory?: string;
	/** Name of namespace, uplink, nft tables and cgroup; at most 15 characters. Default flathub-local. */
	prefix?: string;
	/** Differences from the usual addresses; a second data centre on the host needs a plan of its own. */
	plan?: Partial<AddressPlan>;
	/** How long a machine may take to power off before it is ended by force. Default 60. */
	powerOffSeconds?: number;
	/** Free space that `start` asks for, GB. */
	neededGb?: { state: number; image: number };
	/** Told what takes long. */
	report?: (message: string) => void;
}

export interface Host extends Hypervisor {
	/** Network namespace of the data centre, under /run/netns; the public bridge in it is called `public`. */
	readonly namespace: string;
	/** Runs a command as root inside a running machine and gives its stdout, without the last line's end. */
	enter(
		serverId: string,
		argv: readonly string[],
		options?: Pick<RunOptions, "input" | "timeoutSeconds">,
	): Promise<string>;
	/** File with what the machine printed on its console since the last power-on. */
	consoleLog(serverId: string): string;
}

interface PluggedNic extends NicSpec {
	serverId: string;
	interfaceName: string;
}

interface NetworkRecord {
	spec: PrivateNetworkSpec;
	nics: PluggedNic[];
}

type PublicNics = Record<string, PublicNicSpec & { hostName: string }>;

const publicNicId = (serverId: string) => serverId;
const plain = (address: string) => address.split("/")[0] as string;

/** The one of the local cloud. */
export const createHypervisor: CreateHypervisor = ({ stateDirectory, cacheDirectory, log }) =>
	createHost({ stateDirectory, cacheDirectory, report: log });

/** The Linux machine as a hypervisor: containers for servers, bridges for networks, loop devices for volumes. */
export function createHost(options: HostOptions = {}): Host {
	const prefix = options.prefix ?? "flathub-local";
	if (!/^[a-z][a-z0-9-]{0,14}$/.test(prefix)) {
		throw new Error(`prefix ${JSON.stringify(prefix)}: expected at most 15 lower-case letters, digits and hyphens`);
	}
	const settings = localSettings();
	const place: Place = {
		prefix,
		directory: path.resolve(options.stateDirectory ?? settings.stateDir, "host"),
		imageDirectory: path.resolve(options.cacheDirectory ?? settings.cacheDir, "image"),
	};
	const plan = { ...defaultPlan, ...options.plan };
	const report = options.report ?? (() => {});
	const powerOffSeconds = options.powerOffSeconds ?? 60;
	const turns = new Turns();
	const onServer = <T>(id: string, task: () => Promise<T>) => turns.take(`server ${id}`, task);
	const onNetwork = <T>(task: () => Promise<T>) => turns.take("network", task);

	const networkDirectory = (id: string) => path.join(place.directory, "networks", id);
	const networkFile = (id: string) => path.join(networkDirectory(id), "network.json");
	const groupsFile = path.join(place.directory, "security-groups.json");
	const publicNicsFile = path.join(networkDirectory("public"), "nics.json");

	const networkRecords = () =>
		entries(path.join(place.directory, "networks")).flatMap((id) => readJson<NetworkRecord>(networkFile(id)) ?? []);
	const publicNics = () => readJson<PublicNics>(publicNicsFile) ?? {};
	const groups = () => readJson<Record<string, SecurityGroupSpec>>(groupsFile) ?? {};

	const upstream = `${plan.uplinkOuter}#${forwarderPort}`;
	const forwarderServer = forwarder(prefix, networkDirectory("forwarder"), plan.uplinkOuter, forwarderPort);

	function publicServer(): DnsServer {
		const { netmask, network: base } = firstAddress(plan.publicSubnet);
		const { publicGateway: address } = plan;
		return bridgeServer({
			...{
				prefix,
				directory: networkDirectory("public"),
				namespace: prefix,
				bridge: publicBridge,
				network: base,
				netmask,
			},
			...{ resolver: address, router: address, address, upstream, domains: plan.domains },
		});
	}

	function privateServer(spec: PrivateNetworkSpec): DnsServer {
		const { address, netmask, network: base } = firstAddress(spec.subnet);
		return bridgeServer({
			...{
				prefix,
				directory: networkDirectory(spec.id),
				namespace: prefix,
				bridge: bridgeName(spec.id),
				network: base,
				netmask,
			},
			...{ resolver: privateResolver, router: undefined, address, upstream, domains: plan.domains },
		});
	}

	async function serveNetwork(record: NetworkRecord): Promise<void> {
		await network.createPrivateBridge(place, bridgeName(record.spec.id), record.spec.subnet);
		const reservations = record.nics.map((nic) => ({ ...nic, address: plain(nic.address) }));
		await reserve(privateServer(record.spec), reservations);
	}

	async function servePublic(): Promise<void> {
		const reservations = Object.values(publicNics()).map((nic) => ({ ...nic, address: plain(nic.address) }));
		await reserve(publicServer(), reservations);
	}

	const applyRules = () => applyDataCentreRules(prefix, prefix, plan, groups());

	async function plugPrivate(nic: PluggedNic, leader: machine.Leader): Promise<void> {
		const bridge = bridgeName(nic.privateNetworkId);
		const { macAddress, interfaceName } = nic;
		await network.plugCable(place, { nicId: nic.id, bridge, macAddress, interfaceName, leader: leader.pid });
	}

	async function plugPublic(serverId: string, nic: PublicNicSpec, leader: machine.Leader): Promise<void> {
		const { macAddress } = nic;
		const cable = { nicId: publicNicId(serverId), bridge: publicBridge, macAddress, interfaceName: "ens2" };
		await network.plugCable(place, { ...cable, leader: leader.pid });
	}

	// Machines that run, as far as it has been seen; one that ends is found by looking.
	const running = new Set<string>();
	const exitCallbacks: ((serverId: string) => void)[] = [];
	let watch: NodeJS.Timeout | undefined;

	function exited(serverId: string): void {
		if (running.delete(serverId)) for (const callback of exitCallbacks) callback(serverId);
	}

	async function unplugAll(serverId: string): Promise<void> {
		await network.unplugCable(place, publicNicId(serverId));
		for (const nic of networkRecords().flatMap((record) => record.nics)) {
			if (nic.serverId === serverId) await network.unplugCable(place, nic.id);
		}
	}

	async function off(serverId: string): Promise<void> {
		await machine.stopMachine(place, serverId, powerOffSeconds);
		await unplugAll(serverId);
		exited(serverId);
	}

	/** A guest's own reboot makes new namespaces: its NICs are put into them. */
	async function followReboot(serverId: string): Promise<void> {
		const leader = machine.findLeader(place, serverId);
		if (!leader || machine.recordedLeader(place, serverId)?.pid === leader.pid) return;
		const spec = machine.serverRecord(place, serverId)?.spec;
		if (spec?.publicNic) await plugPublic(serverId, spec.publicNic, leader);
		for (const nic of networkRecords().flatMap((record) => record.nics)) {
			if (nic.serverId === serverId) await plugPrivate(nic, leader);
		}
		machine.recordLeader(place, serverId, leader);
	}

	function look(): void {
		for (const id of running) {
			if (machine.isRunning(place, id) && machine.recordedLeader(place, id)) continue;
			void onServer(id, async () => {
				if (!running.has(id)) return;
				if (machine.isRunning(place, id)) await followReboot(id);
				else await off(id);
			}).catch((error: Error) => report(`server ${id}: ${error.message}`));
		}
	}

	function startWatch(): void {
		watch ??= setInterval(look, 500).unref();
	}

	return {
		namespace: prefix,

		async start() {
			await checkRequirements(place, plan, options.neededGb);
			mkdirSync(place.directory, { recursive: true, mode: 0o700 });
			await ensureImage(place.imageDirectory, "debian_trixie", report);
			new Cgroup(prefix).create();
			await network.createDataCentre(place, plan);
			await applyHostRules(prefix, prefix, plan);
			await applyRules();
			await startServer(forwarderServer);
			await servePublic();
			for (const record of networkRecords()) await serveNetwork(record);
			for (const id of machine.serverIds(place)) {
				if (machine.isRunning(place, id)) running.add(id);
				else await machine.clearMachine(place, id);
			}
			startWatch();
		},

		async stop() {
			clearInterval(watch);
			watch = undefined;
			const group = new Cgroup(prefix);
			const found = group
				.children()
				.flatMap((name) => (name.startsWith("server-") ? [name.slice("server-".length)] : []));
			const ids = [...new Set([...found, ...machine.serverIds(place)])];
			await Promise.all(ids.map((id) => onServer(id, () => machine.stopMachine(place, id, powerOffSeconds))));
			await group.destroy();
			await volume.detachAll(place);
			await unmountBelow(place.directory);
			await network.deleteDataCentre(place);
			for (const id of ids) exited(id);
		},

		async createVolume(volumeId, bytes) {
			volume.createVolume(place, volumeId, bytes);
		},
		resizeVolume: (volumeId, bytes) => volume.resizeVolume(place, volumeId, bytes),
		deleteVolume: (volumeId) => volume.deleteVolume(place, volumeId),

		async prepareServer({ id, name, imageLabel }) {
			const image = await ensureImage(place.imageDirectory, imageLabel, report);
			machine.prepareMachine(place, { id, name, image });
		},

		powerOn: (spec) =>
			onServer(spec.id, async () => {
				if (machine.isRunning(place, spec.id)) return;
				await onNetwork(async () => {
					const { [spec.id]: _, ...others } = publicNics();
					writeJson(
						publicNicsFile,
						spec.publicNic ? { ...others, [spec.id]: { ...spec.publicNic, hostName: spec.name } } : others,
					);
					if (spec.publicNic || _) await servePublic();
				});
				await machine.startServer(place, spec, async (leader) => {
					if (spec.publicNic) await plugPublic(spec.id, spec.publicNic, leader);
				});
				running.add(spec.id);
				startWatch();
			}),

		powerOff: (serverId) => onServer(serverId, () => off(serverId)),

		deleteServer: (serverId) =>
			onServer(serverId, async () => {
				await off(serverId);
				await onNetwork(async () => {
					const { [serverId]: _, ...others } = publicNics();
					if (_) {
						writeJson(publicNicsFile, others);
						await servePublic();
					}
					for (const record of networkRecords()) {
						const nics = record.nics.filter((nic) => nic.serverId !== serverId);
						if (nics.length === record.nics.length) continue;
						writeJson(networkFile(record.spec.id), { ...record, nics });
						await serveNetwork({ ...record, nics });
					}
				});
				await machine.deleteMachine(place, serverId);
			}),

		isRunning: (serverId) => machine.isRunning(place, serverId),
		onExit(callback) {
			exitCallbacks.push(callback);
		},

		createPrivateNetwork: (spec) =>
			onNetwork(async () => {
				const record = readJson<NetworkRecord>(networkFile(spec.id)) ?? { spec, nics: [] };
				writeJson(networkFile(spec.id), record);
				await serveNetwork(record);
			}),

		deletePrivateNetwork: (privateNetworkId) =>
			onNetwork(async () => {
				await stopServer({ prefix, cgroup: `dns-${bridgeName(privateNetworkId)}` });
				await network.deleteBridge(place, bridgeName(privateNetworkId));
				rmSync(networkDirectory(privateNetworkId), { recursive: true, force: true });
			}),

		plugNic: (serverId, nic) =>
			onServer(serverId, async () => {
				const leader = machine.findLeader(place, serverId);
				if (!leader) throw new Error(`NIC ${nic.id}: server ${serverId} does not run; power it on first`);
				const plugged = await onNetwork(async () => {
					const record = readJson<NetworkRecord>(networkFile(nic.privateNetworkId));
					if (!record) throw new Error(`NIC ${nic.id}: private network ${nic.privateNetworkId} is not there`);
					const present = record.nics.find(({ id }) => id === nic.id);
					const interfaceName = present?.interfaceName ?? freeInterfaceName(serverId);
					const entry: PluggedNic = { ...nic, serverId, interfaceName };
					const nics = [...record.nics.filter(({ id }) => id !== nic.id), entry];
					writeJson(networkFile(nic.privateNetworkId), { ...record, nics });
					await serveNetwork({ ...record, nics });
					return entry;
				});
				await plugPrivate(plugged, leader);
			}),

		unplugNic: (serverId, nicId) =>
			onServer(serverId, () =>
				onNetwork(async () => {
					await network.unplugCable(place, nicId);
					for (const record of networkRecords()) {
						const nics = record.nics.filter(({ id }) => id !== nicId);
						if (nics.length === record.nics.length) continue;
						writeJson(networkFile(record.spec.id), { ...record, nics });
						await serveNetwork({ ...record, nics });
					}
				}),
			),

		applySecurityGroup: (_serverId, publicAddress, group) =>
			onNetwork(async () => {
				writeJson(groupsFile, { ...groups(), [plain(publicAddress)]: group });
				await applyRules();
			}),

		removeSecurityGroup: (_serverId, publicAddress) =>
			onNetwork(async () => {
				const { [plain(publicAddress)]: _, ...others } = groups();
				writeJson(groupsFile, others);
				await applyRules();
			}),

		enter: (serverId, argv, enterOptions) => enter(place, serverId, argv, enterOptions),
		consoleLog: (serverId) => machine.consoleLog(place, serverId),
	};

	/** As on Scaleway: the public NIC is ens2, those of private networks follow. */
	function freeInterfaceName(serverId: string): string {
		const taken = new Set(
			networkRecords().flatMap((record) =>
				record.nics.filter((nic) => nic.serverId === serverId).map((nic) => nic.interfaceName),
			),
		);
		let index = 5;
		while (taken.has(`ens${index}`)) index += 1;
		return `ens${index}`;
	}
}
