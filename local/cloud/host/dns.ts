import { existsSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { poll } from "../../../process/poll.ts";
import { writeWhole } from "../../whole-file.ts";
import { Cgroup } from "./cgroup.ts";
import { startDaemon } from "./daemon.ts";
import { readJson, writeJson } from "./state.ts";

/** A dnsmasq: DHCP and DNS of one bridge, or the forwarder in the root namespace. */
export interface DnsServer {
	/** Name of its cgroup, below the data centre's. */
	readonly cgroup: string;
	readonly prefix: string;
	/** Directory of its files. */
	readonly directory: string;
	readonly namespace?: string;
	readonly argv: readonly string[];
}

/** An address that DHCP keeps for a NIC. */
export interface Reservation {
	macAddress: string;
	/** Plain IPv4. */
	address: string;
	hostName: string;
}

const common = ["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--group=root", "--log-facility=-"];

/** Hands the data centre's questions to the host's resolver, whatever that is: a stub on loopback and /etc/hosts included. */
export function forwarder(prefix: string, directory: string, address: string, port: number): DnsServer {
	return {
		...{ cgroup: "dns-forwarder", prefix, directory },
		argv: [...common, "--bind-interfaces", `--listen-address=${address}`, "--except-interface=lo", `--port=${port}`],
	};
}

/** DHCP and DNS of a bridge in the data centre; addresses go to reserved NICs only. */
export function bridgeServer(options: {
	prefix: string;
	directory: string;
	namespace: string;
	bridge: string;
	network: string;
	netmask: string;
	/** Address of the resolver that guests are told. */
	resolver: string;
	/** Gateway that guests are told; undefined tells them none. */
	router: string | undefined;
	/** Address of this server, and the way to `resolver` where there is no gateway. */
	address: string;
	upstream: string;
	domains: Record<string, string>;
}): DnsServer {
	const { directory, bridge } = options;
	const routes = options.router
		? [`--dhcp-option=option:router,${options.router}`]
		: // An empty router option suppresses dnsmasq's own; the classless route is what Scaleway's guests get.
			[
				"--dhcp-option=option:router",
				`--dhcp-option=option:classless-static-route,${options.resolver}/32,${options.address}`,
			];
	return {
		...{ cgroup: `dns-${bridge}`, prefix: options.prefix, directory, namespace: options.namespace },
		argv: [
			...common,
			...["--bind-interfaces", `--interface=${bridge}`, "--except-interface=lo", "--no-resolv", "--no-hosts"],
			...[`--server=${options.upstream}`, `--dhcp-range=${options.network},static,${options.netmask},12h`],
			...["--dhcp-authoritative", "--dhcp-sequential-ip", "--no-ping"],
			...[`--dhcp-hostsfile=${hostsFile(directory)}`, `--dhcp-leasefile=${leaseFile(directory)}`],
			...[`--dhcp-option=option:dns-server,${options.resolver}`, ...routes],
			...Object.entries(options.domains).map(([name, address]) => `--address=/${name}/${address}`),
		],
	};
}

const hostsFile = (directory: string) => path.join(directory, "reservations");
const leaseFile = (directory: string) => path.join(directory, "leases");

/** Starts the server, or leaves it alone if it runs with the same arguments. */
export async function startServer(server: DnsServer): Promise<void> {
	const cgroup = new Cgroup(server.prefix, server.cgroup);
	const argumentsFile = path.join(server.directory, "arguments.json");
	const pidFile = path.join(server.directory, "pid");
	const argv = ["dnsmasq", ...server.argv, `--pid-file=${pidFile}`];
	const same = JSON.stringify(readJson(argumentsFile)) === JSON.stringify(argv);
	if (cgroup.populated && same && existsSync(pidFile)) return;
	await cgroup.destroy();
	if (!existsSync(hostsFile(server.directory))) writeWhole(hostsFile(server.directory), "");
	rmSync(pidFile, { force: true });
	writeJson(argumentsFile, argv);
	const log = path.join(server.directory, "dnsmasq.log");
	await startDaemon(cgroup, argv, { log, ...(server.namespace ? { namespace: server.namespace } : {}) });
	// dnsmasq writes it once its sockets are bound.
	const said = () => readFileSync(log, "utf8").trim().slice(-500);
	const started = await poll(
		`dnsmasq ${server.cgroup} to start`,
		20,
		() => {
			if (existsSync(pidFile)) return true;
			if (said() !== "" && !cgroup.populated) return false;
			throw new Error(said());
		},
		0.05,
	);
	if (!started) throw new Error(`dnsmasq ${server.cgroup} does not start: ${said()}`);
}

export async function stopServer(server: { prefix: string; cgroup: string }): Promise<void> {
	await new Cgroup(server.prefix, server.cgroup).destroy();
}

/** Makes `reservations` the addresses that the server gives out, and starts it if it does not run. */
export async function reserve(server: DnsServer, reservations: readonly Reservation[]): Promise<void> {
	const content = reservations.map((item) => `${item.macAddress},${item.address},${item.hostName}\n`).join("");
	writeWhole(hostsFile(server.directory), content);
	const leases = existsSync(leaseFile(server.directory)) ? readFileSync(leaseFile(server.directory), "utf8") : "";
	const mine = new Set(reservations.map((item) => `${item.macAddress} ${item.address}`));
	const kept = leases.split("\n").filter((line) => {
		const [, macAddress, address] = line.split(" ");
		return line !== "" && mine.has(`${macAddress} ${address}`);
	});
	const stale = leases.split("\n").filter(Boolean).length > kept.length;
	// dnsmasq keeps an address for the NIC that had it before, even if it is reserved for another one since.
	if (stale) {
		await stopServer(server);
		writeWhole(leaseFile(server.directory), kept.map((line) => `${line}\n`).join(""));
	}
	await startServer(server);
	for (const pid of new Cgroup(server.prefix, server.cgroup).processes()) process.kill(pid, "SIGHUP");
}
