import { createHash } from "node:crypto";
import { existsSync, rmdirSync, rmSync } from "node:fs";
import path from "node:path";
import { attempt, run } from "../../../process/run.ts";
import { mountPoints, unmountBelow } from "../../mount.ts";
import { enableForwarding, restoreForwarding } from "./forwarding.ts";
import { type AddressPlan, firstAddress, metadataNextHop, publicBridge } from "./plan.ts";
import { entries, type Place, readJson, writeJson } from "./state.ts";

// The namespace with the data centre's bridges, and its uplink to the host.

/** What the host looked like before; written before anything is changed, so that a kill in between is undone too. */
interface Before {
	/** Whether iproute2 had made /run/netns a mount of its own. */
	namespacesMounted: boolean;
}

const namespacesDirectory = "/run/netns";
const beforeFile = (place: Place) => path.join(place.directory, "before.json");

export function namespaceExists(name: string): boolean {
	return existsSync(path.join(namespacesDirectory, name));
}

/** Whether this state directory has a data centre up, or had one when it was killed. */
export function isOurs(place: Place): boolean {
	return existsSync(beforeFile(place));
}

/** The uplink, the public bridge and the way between them. Changes nothing that is already there. */
export async function createDataCentre(place: Place, plan: AddressPlan): Promise<void> {
	const name = place.prefix;
	if (!isOurs(place)) {
		const before: Before = {
			namespacesMounted: mountPoints().includes(namespacesDirectory),
		};
		writeJson(beforeFile(place), before);
	}
	if (!namespaceExists(name)) await run(["ip", "netns", "add", name]);
	const inside = (...argv: string[]) => run(argv, { namespace: name });
	// Frames between machines on a private network are not for the data centre's rules; the public bridge opts in below.
	if ((await attempt(["sysctl", "-q", "net.bridge.bridge-nf-call-iptables=0"], { namespace: name })) === undefined) {
		await loadBridgeFilter();
		await inside("sysctl", "-q", "net.bridge.bridge-nf-call-iptables=0");
	}
	await inside(
		"sysctl",
		"-q",
		"net.bridge.bridge-nf-call-ip6tables=0",
		"net.bridge.bridge-nf-call-arptables=0",
		"net.ipv4.ip_forward=1",
	);
	await inside("ip", "link", "set", "lo", "up");

	if (!(await linkExists(name))) {
		await run(["ip", "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", name]);
	}
	const prefixLength = plan.uplinkSubnet.split("/")[1];
	await run(["ip", "address", "replace", `${plan.uplinkOuter}/${prefixLength}`, "dev", name]);
	await run(["ip", "link", "set", name, "up"]);
	await inside("ip", "address", "replace", `${plan.uplinkInner}/${prefixLength}`, "dev", "uplink");
	await inside("ip", "link", "set", "uplink", "up");
	await inside("ip", "route", "replace", "default", "via", plan.uplinkOuter);

	await createBridge(name, publicBridge, [
		`${plan.publicGateway}/${plan.publicSubnet.split("/")[1]}`,
		`${metadataNextHop}/32`,
	]);
	await inside("ip", "link", "set", publicBridge, "type", "bridge", "nf_call_iptables", "1", "nf_call_ip6tables", "1");
	await run(["ip", "route", "replace", plan.publicSubnet, "via", plan.uplinkInner, "dev", name]);
	enableForwarding(name);
}

// Where bridge filtering is a module, loading it would at once filter the host's own bridges (Docker's, libvirt's).
async function loadBridgeFilter(): Promise<void> {
	await run(["modprobe", "br_netfilter"]).catch((error: Error) => {
		throw new Error(`this kernel can't filter bridged traffic, which security groups need: ${error.message}`);
	});
	await run(["sysctl", "-q", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"]);
}

async function linkExists(name: string, namespace?: string): Promise<boolean> {
	return (await attempt(["ip", "link", "show", "dev", name], namespace ? { namespace } : {})) !== undefined;
}

async function createBridge(namespace: string, bridge: string, addresses: readonly string[]): Promise<void> {
	if (!(await linkExists(bridge, namespace))) {
		// An address of its own: by default a bridge has the lowest of its ports', and each machine that comes or goes would
		// leave the others with a neighbour entry that leads nowhere, without DNS for half a minute.
		const hash = createHash("sha256").update(`${namespace} ${bridge}`).digest("hex");
		const address = ["0a", ...(hash.slice(0, 10).match(/../g) ?? [])].join(":");
		await run(["ip", "link", "add", bridge, "address", address, "type", "bridge", "forward_delay", "0"], { namespace });
	}
	for (const address of addresses) await run(["ip", "address", "replace", address, "dev", bridge], { namespace });
	await run(["ip", "link", "set", bridge, "up"], { namespace });
}

/** A private network's bridge, with the subnet's first address. (Scaleway's resolver address is redirected to it.) */
export async function createPrivateBridge(place: Place, bridge: string, subnet: string): Promise<void> {
	const { address, prefixLength } = firstAddress(subnet);
	await createBridge(place.prefix, bridge, [`${address}/${prefixLength}`]);
}

export async function deleteBridge(place: Place, bridge: string): Promise<void> {
	await attempt(["ip", "link", "delete", bridge], { namespace: place.prefix });
}

/** The host's end of a NIC's cable. */
const cableName = (nicId: string) => `nic-${nicId.slice(0, 8)}`;

/**
 * Puts a NIC called `interfaceName` into the network namespace of the process `leader`, its other end on the bridge.
 * Does nothing if it is there.
 */
export async function plugCable(
	place: Place,
	cable: { nicId: string; bridge: string; macAddress: string; interfaceName: string; leader: number },
): Promise<void> {
	const namespace = place.prefix;
	const mine = ["nsenter", `--net=/proc/${cable.leader}/ns/net`, "--", "ip", "-o", "link"];
	if ((await attempt(mine))?.includes(` ${cable.macAddress} `) && (await linkExists(cableName(cable.nicId), namespace)))
		return;
	await unplugCable(place, cable.nicId);
	const peer = ["peer", "name", cable.interfaceName, "address", cable.macAddress, "netns", `${cable.leader}`];
	await run(["ip", "link", "add", cableName(cable.nicId), "type", "veth", ...peer], { namespace });
	await run(["ip", "link", "set", cableName(cable.nicId), "master", cable.bridge, "up"], { namespace });
}

export async function unplugCable(place: Place, nicId: string): Promise<void> {
	if (await linkExists(cableName(nicId), place.prefix)) {
		await attempt(["ip", "link", "delete", cableName(nicId)], { namespace: place.prefix });
	}
}

/** Takes namespace, uplink and route away and puts the host's settings back. The machines must have ended before. */
export async function deleteDataCentre(place: Place): Promise<void> {
	const name = place.prefix;
	await attempt(["ip", "link", "delete", name]); // takes the route along
	await attempt(["nft", "delete", "table", "inet", name]);
	if (namespaceExists(name)) await run(["ip", "netns", "delete", name]);
	restoreForwarding(name);
	const before = readJson<Before>(beforeFile(place));
	if (!before) return;
	if (!before.namespacesMounted && entries(namespacesDirectory).length === 0) {
		await unmountBelow(namespacesDirectory);
		try {
			rmdirSync(namespacesDirectory);
		} catch {} // somebody made a namespace just now
	}
	rmSync(beforeFile(place), { force: true });
}
