/**
 * What a build may reach from a machine in another's data centre, input for `nft -f`: the outside, and names.
 *
 * One table of our own, made anew: the machine's own rules are its owner's, and stay. Only what runs as the builds' user
 * is filtered. Port 53 is open everywhere, since the machine's resolvers may well be inside; the other addresses of the
 * machine itself are reached through the loopback device.
 */
export function remoteBuilderRuleset(): string {
	const output = ["type filter hook output priority filter; policy accept;", "meta skuid build jump build"];
	const build = [
		"ct state established,related accept",
		"meta l4proto { tcp, udp } th dport 53 accept",
		'oifname "lo" counter name build_rejected reject',
		`ip daddr { ${closedIpv4.join(", ")} } counter name build_rejected reject`,
		`ip6 daddr { ${closedIpv6.join(", ")} } counter name build_rejected reject`,
	];
	const chain = (name: string, rules: readonly string[]) => [
		`\tchain ${name} {`,
		...rules.map((rule) => `\t\t${rule}`),
		"\t}",
	];
	const lines = [
		// Made first, so that there is one to delete.
		"table inet flathub { }",
		"delete table inet flathub",
		"table inet flathub {",
		"\tcounter build_rejected { }",
		"",
		...chain("build", build),
		"",
		...chain("output", output),
		"}",
	];
	return `${lines.join("\n")}\n`;
}

/** This host, RFC 1918, RFC 6598, link-local with the metadata services, multicast, reserved with broadcast. */
const closedIpv4 = [
	"0.0.0.0/8",
	"10.0.0.0/8",
	"100.64.0.0/10",
	"127.0.0.0/8",
	"169.254.0.0/16",
	"172.16.0.0/12",
	"192.168.0.0/16",
	"224.0.0.0/4",
	"240.0.0.0/4",
];

/** Unique local, link-local, multicast, and IPv4 addresses in IPv6's clothes. */
const closedIpv6 = ["::/96", "::ffff:0:0/96", "fc00::/7", "fe80::/10", "ff00::/8"];
