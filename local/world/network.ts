import { existsSync } from "node:fs";
import { runCommand } from "./command.ts";
import { endProcesses } from "./process.ts";

export interface Attachment {
	/** Network namespace of what is attached; made here. */
	namespace: string;
	/** The namespace with the bridge; must be there. */
	cloudNamespace: string;
	/** The make-believe internet. */
	bridge: string;
	/** Name of the cable's end at the bridge, at most 15 characters. */
	port: string;
	/** IPv4 address with prefix length. */
	address: string;
	gateway: string;
}

/** The path under which a network namespace can be entered. */
export function namespacePath(name: string): string {
	return `/run/netns/${name}`;
}

/** Attach a network namespace to the bridge; what is already as it should be stays. */
export async function attach(attachment: Attachment): Promise<void> {
	const { namespace, cloudNamespace, bridge, port, address, gateway } = attachment;
	if (!existsSync(namespacePath(cloudNamespace))) {
		throw new Error(
			`network namespace ${cloudNamespace} does not exist: the local cloud must run first (scripts/up local)`,
		);
	}
	const cloud = ["ip", "-n", cloudNamespace];
	const own = ["ip", "-n", namespace];
	if ((await runCommand([...cloud, "link", "show", bridge], { allowFailure: true })).exitCode !== 0) {
		throw new Error(
			`network namespace ${cloudNamespace} has no bridge ${bridge}: the local cloud did not start completely`,
		);
	}
	if (!existsSync(namespacePath(namespace))) await runCommand(["ip", "netns", "add", namespace]);
	if ((await runCommand([...own, "link", "show", "eth0"], { allowFailure: true })).exitCode !== 0) {
		await runCommand([...cloud, "link", "delete", port], { allowFailure: true });
		await runCommand([...cloud, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace]);
	}
	await runCommand([...cloud, "link", "set", port, "master", bridge, "up"]);
	await runCommand([...own, "link", "set", "lo", "up"]);
	await runCommand([...own, "address", "replace", address, "dev", "eth0"]);
	await runCommand([...own, "link", "set", "eth0", "up"]);
	await runCommand([...own, "route", "replace", "default", "via", gateway]);
}

/** End what runs in a namespace that `attach` made and remove it, and with it both ends of its cable. */
export async function detach(namespace: string): Promise<void> {
	if (!existsSync(namespacePath(namespace))) return;
	await endAllIn(namespace);
	await runCommand(["ip", "netns", "delete", namespace]);
}

/** End what runs in a namespace that `attach` made, whoever started it there. */
export async function endAllIn(namespace: string): Promise<void> {
	const { stdout } = await runCommand(["ip", "netns", "pids", namespace], { allowFailure: true });
	await endProcesses(stdout.split("\n").filter(Boolean).map(Number));
}
