import { run } from "../../../process/run.ts";
import type { SecurityGroupRuleSpec, SecurityGroupSpec } from "../hypervisor.ts";
import {
	type AddressPlan,
	forwarderPort,
	metadataAddress,
	metadataPort,
	privateResolver,
	publicBridge,
} from "./plan.ts";

/** In the root namespace: lets the data centre out behind the host's address, and little of it to the host itself. */
export async function applyHostRules(table: string, uplink: string, plan: AddressPlan): Promise<void> {
	await replaceTable(
		table,
		`	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr { ${plan.uplinkSubnet}, ${plan.publicSubnet} } oifname != "${uplink}" masquerade
	}
	chain input {
		type filter hook input priority filter; policy accept;
		iifname != "${uplink}" accept
		ct state established,related accept
		ip daddr ${plan.uplinkOuter} tcp dport { ${metadataPort}, ${forwarderPort} } accept
		ip daddr ${plan.uplinkOuter} udp dport ${forwarderPort} accept
		icmp type echo-request accept
		drop
	}`,
	);
}

/** In the data centre: what is routed or bridged there, and the security groups, by the server's public address. */
export async function applyDataCentreRules(
	table: string,
	namespace: string,
	plan: AddressPlan,
	groups: Record<string, SecurityGroupSpec>,
): Promise<void> {
	await replaceTable(table, dataCentreRules(plan, groups), namespace);
}

export function dataCentreRules(plan: AddressPlan, groups: Record<string, SecurityGroupSpec>): string {
	const sorted = Object.entries(groups).sort(([a], [b]) => a.localeCompare(b));
	const chains = sorted.map(([address, group]) => groupChains(address, group));
	const jumps = sorted.flatMap(([address]) => [
		`		ip saddr ${address} jump out-${address}`,
		`		ip daddr ${address} jump in-${address}`,
	]);
	return `${chains.join("")}	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "${publicBridge}" ip daddr ${metadataAddress} tcp dport 80 dnat ip to ${plan.uplinkOuter}:${metadataPort}
		iifname "pn-*" ip daddr ${privateResolver} meta l4proto { tcp, udp } th dport 53 redirect
	}
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept
		ct state established,related accept
		icmp type echo-request accept
		iifname { "${publicBridge}", "pn-*" } udp dport { 53, 67 } accept
		iifname { "${publicBridge}", "pn-*" } tcp dport 53 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		# The metadata service is not filtered at Scaleway either.
		ct status dnat accept
${jumps.join("\n")}
		# Bridged frames of the make-believe internet pass here too.
		meta nfproto ipv4 iifname "${publicBridge}" oifname { "${publicBridge}", "uplink" } accept
		meta nfproto ipv4 iifname "uplink" oifname "${publicBridge}" accept
	}`;
}

// A group's chains return what they let pass: traffic from one server to another needs the consent of both.
function groupChains(address: string, group: SecurityGroupSpec): string {
	const chain = (name: string, direction: "inbound" | "outbound", defaultAction: "accept" | "drop") => {
		const lines = group.stateful ? ["ct state established,related return"] : [];
		for (const rule of group.rules.filter((rule) => rule.direction === direction)) lines.push(...ruleLines(rule));
		lines.push(verdict(defaultAction));
		return `	chain ${name}-${address} {\n${lines.map((line) => `\t\t${line}\n`).join("")}	}\n`;
	};
	return chain("in", "inbound", group.inboundDefault) + chain("out", "outbound", group.outboundDefault);
}

const verdict = (action: "accept" | "drop") => (action === "accept" ? "return" : "drop");

/** The nft form of one rule; none for IPv6, which the make-believe internet does not have. */
export function ruleLines(rule: SecurityGroupRuleSpec): string[] {
	if (rule.ipRange.includes(":")) return [];
	if (!/^\d+(\.\d+){3}(\/\d+)?$/.test(rule.ipRange)) {
		throw new Error(`security group rule: ipRange ${JSON.stringify(rule.ipRange)} is not an IPv4 or IPv6 CIDR`);
	}
	const peer = rule.direction === "inbound" ? "saddr" : "daddr";
	const parts = rule.ipRange.endsWith("/0") ? [] : [`ip ${peer} ${rule.ipRange}`];
	const ports =
		rule.portFrom === null ? undefined : rule.portTo === null ? `${rule.portFrom}` : `${rule.portFrom}-${rule.portTo}`;
	if (rule.protocol === "ICMP") parts.push("meta l4proto icmp");
	else if (rule.protocol !== "ANY") parts.push(`meta l4proto ${rule.protocol.toLowerCase()}`);
	if (ports && (rule.protocol === "TCP" || rule.protocol === "UDP")) parts.push(`th dport ${ports}`);
	else if (ports && rule.protocol === "ANY") parts.push(`meta l4proto { tcp, udp } th dport ${ports}`);
	return [[...parts, verdict(rule.action)].join(" ")];
}

/** One transaction: there is no moment without rules. */
async function replaceTable(table: string, body: string, namespace?: string): Promise<void> {
	const input = `table inet ${table} {\n}\ndelete table inet ${table}\ntable inet ${table} {\n${body}\n}\n`;
	await run(["nft", "-f", "-"], { input, ...(namespace ? { namespace } : {}) });
}
