import type { Machine, Role } from "./config.ts";

/**
 * One end of a flow: a role's machines, every machine but front, the private network's name server, or everything
 * outside the private network.
 */
export type Endpoint = Role | "private" | "resolver" | "outside";

/** A connection that may be opened. What is not listed is dropped. */
export interface Flow {
	from: Endpoint;
	to: Endpoint;
	protocol: "tcp" | "udp";
	/** One number; null for every port. */
	port: number | null;
	/** Why it is needed, for the docs and whoever reviews a change. */
	reason: string;
	/** Which users of the sending machine may open it; default all. Takes effect where what leaves is filtered. */
	users?: readonly string[];
	/** Set where the receiver's own firewall drops it again once the machine is delivered to. */
	firstBootOnly?: true;
}

/** The whole of who may talk to whom. */
export const flows: readonly Flow[] = [
	{ from: "outside", to: "front", protocol: "tcp", port: 80, reason: "the site, the repository and the change hook" },
	{ from: "outside", to: "front", protocol: "tcp", port: 443, reason: "the same over TLS" },
	{ from: "outside", to: "front", protocol: "tcp", port: 22, reason: "SSH: front is everyone's jump host" },
	{
		from: "outside",
		to: "front",
		protocol: "tcp",
		port: 2222,
		reason: "front's first SSH connection, checked against its throw-away key",
		firstBootOnly: true,
	},
	{
		from: "outside",
		to: "front",
		protocol: "tcp",
		port: 9990,
		reason: "remote builders dial in; without a certificate on the list the port gives nothing",
	},
	{
		from: "front",
		to: "private",
		protocol: "tcp",
		port: 22,
		reason: "deployment and operators, through the jump host",
	},
	{
		from: "front",
		to: "private",
		protocol: "tcp",
		port: 2222,
		reason: "a machine's first SSH connection, checked against its throw-away key",
		firstBootOnly: true,
	},
	{ from: "front", to: "master", protocol: "tcp", port: 8010, reason: "Buildbot's web service and the change hook" },
	{ from: "front", to: "master", protocol: "tcp", port: 9989, reason: "remote builders' connections, passed on" },
	{ from: "front", to: "repo", protocol: "tcp", port: 80, reason: "the repository behind the cache" },
	{
		from: "builder",
		to: "master",
		protocol: "tcp",
		port: 9989,
		users: ["root", "worker"],
		reason: "Buildbot workers dial in; a build, which runs as another user, can't",
	},
	{ from: "builder", to: "resolver", protocol: "udp", port: 53, reason: "names of what builds fetch" },
	{ from: "builder", to: "resolver", protocol: "tcp", port: 53, reason: "the same, for long answers" },
	{ from: "repo", to: "master", protocol: "tcp", port: 9989, reason: "the publishing worker dials in" },
	{
		from: "private",
		to: "outside",
		protocol: "tcp",
		port: null,
		reason: "packages, sources and GitHub, through front's NAT",
	},
	{ from: "private", to: "outside", protocol: "udp", port: null, reason: "names and time, through front's NAT" },
	{
		from: "private",
		to: "front",
		protocol: "tcp",
		port: 80,
		reason: "the public site by its public address, which is front's own",
	},
	{ from: "private", to: "front", protocol: "tcp", port: 443, reason: "the same over TLS" },
];

/** The name server of every private network of Scaleway. */
const resolver = "169.254.169.254";

/** What the rules of one machine are made from. */
export interface Neighbourhood {
	machines: readonly Machine[];
	/** The private network's subnet in CIDR notation. */
	privateNetwork: string;
}

function isEnd(end: Endpoint, machine: Machine): boolean {
	return end === machine.role || (end === "private" && machine.role !== "front");
}

function addressesOf(end: Endpoint, { machines }: Neighbourhood, except: Machine): string[] {
	if (end === "resolver") return [resolver];
	return machines
		.filter((machine) => isEnd(end, machine) && machine.name !== except.name)
		.map((machine) => machine.address)
		.sort();
}

/**
 * The complete nftables ruleset of a machine after its first delivery, input for `nft -f`.
 *
 * Builders run strangers' code, so what leaves them is filtered too: inside, they reach only what the flows list, and
 * the metadata service (169.254.42.42) not at all. Their own addresses are open on loopback only, where
 * systemd-resolved listens.
 */
export function nftablesRuleset(machine: Machine, neighbourhood: Neighbourhood): string {
	const lines = [
		"flush ruleset",
		"",
		`define private_network = ${neighbourhood.privateNetwork}`,
		"",
		"table inet filter {",
		...indented([
			"counter input_dropped { }",
			...(machine.role === "front" ? ["counter forward_out { }"] : []),
			...(machine.role === "builder" ? ["counter output_rejected { }"] : []),
			"",
			...chain("input", inputRules(machine, neighbourhood)),
			"",
			...chain("forward", machine.role === "front" ? forwardRules() : []),
			...(machine.role === "builder" ? ["", ...outputChain(machine, neighbourhood)] : []),
		]),
		"}",
		...(machine.role === "front" ? ["", ...natTable()] : []),
	];
	return `${lines.join("\n")}\n`;
}

function indented(lines: readonly string[]): string[] {
	return lines.map((line) => (line === "" ? "" : `\t${line}`));
}

function chain(hook: "input" | "forward", rules: readonly string[]): string[] {
	return [`chain ${hook} {`, ...indented([`type filter hook ${hook} priority filter; policy drop;`, ...rules]), "}"];
}

function inputRules(machine: Machine, neighbourhood: Neighbourhood): string[] {
	return [
		"ct state established,related accept",
		'iifname "lo" accept',
		"udp sport 67 udp dport 68 accept",
		"meta l4proto { icmp, ipv6-icmp } accept",
		...flows
			.filter((flow) => isEnd(flow.to, machine) && flow.firstBootOnly === undefined)
			.flatMap((flow) => {
				const source = sourceMatch(flow, machine, neighbourhood);
				return source === undefined ? [] : [rule(`${source} ${portMatch(flow)} accept`, flow.reason)];
			}),
		"counter name input_dropped",
	];
}

function sourceMatch(flow: Flow, machine: Machine, neighbourhood: Neighbourhood): string | undefined {
	if (flow.from === "outside") return "ip saddr != $private_network";
	const addresses = addressesOf(flow.from, neighbourhood, machine);
	return addresses.length === 0 ? undefined : `ip saddr ${set(addresses)}`;
}

function forwardRules(): string[] {
	return [
		"ct state established,related accept",
		"ip daddr 169.254.0.0/16 drop",
		...outwardProtocols().map((protocol) =>
			rule(
				`ip saddr $private_network ip daddr != $private_network meta l4proto ${protocol} counter name forward_out accept`,
				"the way out of the private network",
			),
		),
	];
}

/** ICMP belongs to every way out: without it path MTU discovery and ping fail. */
function outwardProtocols(): string[] {
	const protocols = flows
		.filter((flow) => flow.from === "private" && flow.to === "outside")
		.map((flow) => flow.protocol);
	return [...new Set([...protocols, "icmp"])];
}

function natTable(): string[] {
	return [
		"table ip nat {",
		...indented([
			"counter nat_out { }",
			"",
			"chain postrouting {",
			...indented([
				"type nat hook postrouting priority srcnat; policy accept;",
				"ip saddr $private_network ip daddr != $private_network counter name nat_out masquerade",
			]),
			"}",
		]),
		"}",
	];
}

function outputChain(machine: Machine, neighbourhood: Neighbourhood): string[] {
	const inside = flows
		.filter((flow) => isEnd(flow.from, machine) && flow.to !== "outside" && flow.to !== "front")
		.flatMap((flow) => {
			const addresses = addressesOf(flow.to, neighbourhood, machine);
			const users = flow.users === undefined ? "" : `meta skuid ${set(flow.users)} `;
			return addresses.length === 0
				? []
				: [rule(`${users}ip daddr ${set(addresses)} ${portMatch(flow)} accept`, flow.reason)];
		});
	return [
		"chain output {",
		...indented([
			"type filter hook output priority filter; policy accept;",
			"ct state established,related accept",
			'oifname "lo" ip daddr 127.0.0.0/8 accept',
			'oifname "lo" ip6 daddr ::1 accept',
			"udp sport 68 udp dport 67 accept",
			...inside,
			"ip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255, $private_network } counter name output_rejected reject",
			"icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept",
			"ip6 daddr { fc00::/7, fe80::/10, ff00::/8 } counter name output_rejected reject",
		]),
		"}",
	];
}

function portMatch(flow: Flow): string {
	return flow.port === null ? `meta l4proto ${flow.protocol}` : `${flow.protocol} dport ${flow.port}`;
}

function set(addresses: readonly string[]): string {
	return addresses.length === 1 ? String(addresses[0]) : `{ ${addresses.join(", ")} }`;
}

function rule(match: string, reason: string): string {
	return `${match} comment "${reason}"`;
}

/** A rule of Scaleway's security group: what may reach the one public address. */
export interface SecurityGroupRule {
	action: "accept";
	protocol: "TCP" | "UDP" | "ICMP";
	port?: number;
}

/**
 * What the security group lets through to front: the flows from outside, the first boot's included, since a replaced
 * front has one again. Security groups filter public traffic only; inside, the machines' own firewalls do.
 */
export function securityGroupRules(): SecurityGroupRule[] {
	return [
		...flows
			.filter((flow) => flow.from === "outside" && flow.to === "front" && flow.port !== null)
			.map(
				(flow): SecurityGroupRule => ({
					action: "accept",
					protocol: flow.protocol === "tcp" ? "TCP" : "UDP",
					...(flow.port === null ? {} : { port: flow.port }),
				}),
			),
		{ action: "accept", protocol: "ICMP" },
	];
}
