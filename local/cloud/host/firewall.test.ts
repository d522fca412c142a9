import { describe, expect, it } from "vitest";
import type { SecurityGroupRuleSpec } from "../hypervisor.ts";
import { dataCentreRules, ruleLines } from "./firewall.ts";
import { defaultPlan } from "./plan.ts";

const rule = (extra: Partial<SecurityGroupRuleSpec>): SecurityGroupRuleSpec => ({
	...{ direction: "inbound", action: "accept", protocol: "TCP", ipRange: "0.0.0.0/0", portFrom: null, portTo: null },
	...extra,
});

describe("ruleLines", () => {
	it.each([
		[rule({ portFrom: 22 }), ["meta l4proto tcp th dport 22 return"]],
		[rule({ portFrom: 20, portTo: 22, action: "drop" }), ["meta l4proto tcp th dport 20-22 drop"]],
		[rule({ protocol: "ICMP", portFrom: 8 }), ["meta l4proto icmp return"]],
		[rule({ protocol: "ANY" }), ["return"]],
		[rule({ protocol: "ANY", portFrom: 53 }), ["meta l4proto { tcp, udp } th dport 53 return"]],
		[rule({ ipRange: "192.0.2.0/24" }), ["ip saddr 192.0.2.0/24 meta l4proto tcp return"]],
		[rule({ direction: "outbound", ipRange: "192.0.2.7" }), ["ip daddr 192.0.2.7 meta l4proto tcp return"]],
		[rule({ ipRange: "::/0" }), []],
	])("%j", (input, expected) => {
		expect(ruleLines(input)).toEqual(expected);
	});

	it("refuses what is no address block", () => {
		expect(() => ruleLines(rule({ ipRange: "0.0.0.0/0 accept; drop" }))).toThrow(
			/ipRange .* is not an IPv4 or IPv6 CIDR/,
		);
	});
});

describe("dataCentreRules", () => {
	it("lets answers pass in a stateful group only", () => {
		const group = { inboundDefault: "drop", outboundDefault: "accept", rules: [] } as const;
		const of = (stateful: boolean) =>
			dataCentreRules(defaultPlan, { "198.18.0.100": { ...group, stateful, rules: [] } });
		const chain = (text: string) =>
			/chain in-198\.18\.0\.100 \{([^}]*)\}/
				.exec(text)?.[1]
				?.trim()
				.split(/\s*\n\s*/);
		expect(chain(of(true))).toEqual(["ct state established,related return", "drop"]);
		expect(chain(of(false))).toEqual(["drop"]);
	});
});
