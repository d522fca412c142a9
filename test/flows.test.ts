import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import type { Machine } from "../stacks/config.ts";
import { machinesOf } from "../stacks/config.ts";
import { flows, nftablesRuleset, securityGroupRules } from "../stacks/flows.ts";
import { stackConfig } from "./stack-file.ts";

const machines = machinesOf(stackConfig("prod"));
const neighbourhood = { machines, privateNetwork: "10.17.0.0/24" };

function named(name: string): Machine {
	const machine = machines.find((candidate) => candidate.name === name);
	if (!machine) throw new Error(`no machine ${name}`);
	return machine;
}

function rules(name: string): string[] {
	return nftablesRuleset(named(name), neighbourhood)
		.split("\n")
		.map((line) => line.trim().replace(/ comment ".*"$/, ""));
}

test("every flow has its reason, and none is there twice", () => {
	for (const flow of flows) expect(flow.reason.length).toBeGreaterThan(5);
	const keys = flows.map(({ from, to, protocol, port }) => `${from} ${to} ${protocol} ${port}`);
	expect(new Set(keys).size).toBe(keys.length);
});

describe("rulesets", () => {
	test.each(machines.map(({ name }) => name))("nft takes that of %s", (name) => {
		const ruleset = nftablesRuleset(named(name), neighbourhood);
		// nft looks users up, and this machine has none of a builder's.
		const users =
			"{ cat /etc/passwd; echo worker:x:990:990::/:/bin/false; } > /tmp/passwd && mount --bind /tmp/passwd /etc/passwd";
		const check = `mount -t tmpfs tmpfs /tmp && ${users} && exec nft --check --file -`;
		const command = ["--user", "--map-root-user", "--mount", "--net", "sh", "-c", check];
		const { status, stderr } = spawnSync("unshare", command, { input: ruleset, encoding: "utf8" });
		expect(stderr).toBe("");
		expect(status).toBe(0);
		const broken = spawnSync("unshare", command, { input: `${ruleset}nonsense\n`, encoding: "utf8" });
		expect(broken.status).not.toBe(0);
	});

	test.each(machines.map(({ name }) => name))("%s drops what no flow lets in", (name) => {
		expect(rules(name)).toContain("type filter hook input priority filter; policy drop;");
		expect(rules(name)).toContain("type filter hook forward priority filter; policy drop;");
	});

	test("the master lets in its workers, and front to its web service", () => {
		expect(rules("master").filter((rule) => /^ip saddr/.test(rule))).toEqual([
			"ip saddr 10.17.0.2 tcp dport 22 accept",
			"ip saddr 10.17.0.2 tcp dport 8010 accept",
			"ip saddr { 10.17.0.31, 10.17.0.32 } tcp dport 9989 accept",
			"ip saddr 10.17.0.20 tcp dport 9989 accept",
		]);
	});

	test("the repository lets in front only", () => {
		expect(rules("repo").filter((rule) => /^ip saddr/.test(rule))).toEqual([
			"ip saddr 10.17.0.2 tcp dport 22 accept",
			"ip saddr 10.17.0.2 tcp dport 80 accept",
		]);
	});

	test("a builder lets in SSH from front, and gets nowhere inside but to the master's worker port and DNS", () => {
		const all = rules("builder-1");
		expect(all.filter((rule) => /^ip saddr/.test(rule))).toEqual(["ip saddr 10.17.0.2 tcp dport 22 accept"]);
		const output = all.slice(all.indexOf("chain output {"));
		expect(output.filter((rule) => /^ip daddr/.test(rule))).toEqual([
			"ip daddr 169.254.169.254 udp dport 53 accept",
			"ip daddr 169.254.169.254 tcp dport 53 accept",
			"ip daddr { 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255, $private_network } counter name output_rejected reject",
		]);
	});

	test("a build, which runs as its own user, can't open the master's worker port", () => {
		const output = rules("builder-1");
		const toMaster = output.filter((rule) => /dport 9989/.test(rule));
		expect(toMaster).toEqual(["meta skuid { root, worker } ip daddr 10.17.0.10 tcp dport 9989 accept"]);
		const rejects = output.findIndex((rule) => rule.startsWith("ip daddr { 169.254.0.0/16"));
		expect(output.indexOf(toMaster[0] ?? "")).toBeLessThan(rejects);
		expect(output.slice(0, rejects).filter((rule) => rule.includes('oifname "lo"'))).toEqual([
			'oifname "lo" ip daddr 127.0.0.0/8 accept',
			'oifname "lo" ip6 daddr ::1 accept',
		]);
	});

	test("whom a flow restricts to users is filtered where it leaves", () => {
		for (const flow of flows) if (flow.users !== undefined) expect(flow.from).toBe("builder");
	});

	test("front is not open for SSH from inside, and has the counters of its NAT", () => {
		expect(rules("front").filter((rule) => /dport 22 /.test(rule))).toEqual([
			"ip saddr != $private_network tcp dport 22 accept",
		]);
		expect(rules("front")).toContain("table ip nat {");
		expect(rules("front")).toContain(
			"ip saddr $private_network ip daddr != $private_network counter name nat_out masquerade",
		);
	});

	test("the port of first boots is closed by the first delivery", () => {
		for (const { name } of machines) expect(rules(name).join("\n")).not.toContain("2222");
	});
});

test("the security group lets through what the flows from outside list, and pings", () => {
	expect(securityGroupRules()).toEqual([
		{ action: "accept", protocol: "TCP", port: 80 },
		{ action: "accept", protocol: "TCP", port: 443 },
		{ action: "accept", protocol: "TCP", port: 22 },
		{ action: "accept", protocol: "TCP", port: 2222 },
		{ action: "accept", protocol: "ICMP" },
	]);
});
