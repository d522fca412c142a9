import { existsSync } from "node:fs";
import { endProcesses } from "../../process/identity.ts";
import { run } from "../../process/run.ts";

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
	if ((await run([...cloud, "link", "show", bridge], { mayFail: true })).exitCode !== 0) {
		throw new Error(
			`network namespace ${cloudNamespace} has no bridge ${bridge}: the local cloud did not start completely`,
		);
	}
	if (!existsSync(namespacePath(namespace))) await run(["ip", "netns", "add", namespace]);
	if ((await run([...own, "link", "show", "eth0"], { mayFail: true })).exitCode !== 0) {
		await run([...cloud, "link", "delete", port], { mayFail: true });
		await run([...cloud, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace]);
	}
	await run([...cloud, "link", "set", port, "master", bridge, "up"]);
	await run([...own, "link", "set", "lo", "up"]);
	await run([...own, "address", "replace", address, "dev", "eth0"]);
	await run([...own, "link", "set", "eth0", "up"]);
	await run([...own, "route", "replace", "default", "via", gateway]);
}

/** End what runs in a namespace that `attach` made and remove it, and with it both ends of its cable. */
export async function detach(namespace: string): Promise<void> {
	if (!existsSync(namespacePath(namespace))) return;
	await endAllIn(namespace);
	await run(["ip", "netns", "delete", namespace]);
}

/** End what runs in a namespace that `attach` made, whoever started it there. */
export async function endAllIn(namespace: string): Promise<void> {
	const { stdout } = await run(["ip", "netns", "pids", namespace], { mayFail: true });
	await endProcesses(stdout.split("\n").filter(Boolean).map(Number));
}
