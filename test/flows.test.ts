import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import type { Machine } from "../stacks/config.ts";
import { buildersOf, machinesOf, remoteBuildersOf } from "../stacks/config.ts";
import { flows, nftablesRuleset, securityGroupRules } from "../stacks/flows.ts";
import { builderInventory, remoteBuilderInventory } from "../stacks/generated.ts";
import { remoteBuilderRuleset } from "../stacks/remote-builder-firewall.ts";
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

test("workers are told ports that flows open", () => {
	const config = stackConfig("prod");
	const open = (to: string) => flows.filter((flow) => flow.to === to).map(({ from, port }) => `${from} ${port}`);
	const [builder, remote] = [buildersOf(config)[0], remoteBuildersOf(config)[0]];
	if (!builder || !remote) throw new Error("prod has both");
	const inside = builderInventory(builder, config) as { master: object };
	expect(inside.master).toEqual({ host: "10.17.0.10", port: 9989, tlsName: null });
	expect(open("master")).toEqual(expect.arrayContaining(["builder 9989", "repo 9989", "front 9989"]));
	const outside = remoteBuilderInventory(remote, config, "198.51.100.7") as { master: object };
	expect(outside.master).toEqual({ host: "198.51.100.7", port: 9990, tlsName: "workers.flathub.org" });
	expect(open("front")).toContain("outside 9990");
});

test("every flow has its reason, and none is there twice", () => {
	for (const flow of flows) expect(flow.reason.length).toBeGreaterThan(5);
	const keys = flows.map(({ from, to, protocol, port }) => `${from} ${to} ${protocol} ${port}`);
	expect(new Set(keys).size).toBe(keys.length);
});

/** Runs a shell command with a network of its own, where builders' users are known: nft looks them up. */
function withOwnNetwork(command: string, input: string) {
	const users =
		"{ cat /etc/passwd; echo worker:x:990:990::/:/bin/false; echo build:x:991:991::/:/bin/false; } > /tmp/passwd" +
		" && mount --bind /tmp/passwd /etc/passwd";
	const script = `mount -t tmpfs tmpfs /tmp && ${users} && ${command}`;
	const unshare = ["--user", "--map-root-user", "--mount", "--net", "sh", "-c", script];
	return spawnSync("unshare", unshare, { input, encoding: "utf8" });
}

const nftCheck = "exec nft --check --file -";

describe("rulesets", () => {
	test.each(machines.map(({ name }) => name))("nft takes that of %s", (name) => {
		const ruleset = nftablesRuleset(named(name), neighbourhood);
		const { status, stderr } = withOwnNetwork(nftCheck, ruleset);
		expect(stderr).toBe("");
		expect(status).toBe(0);
		expect(withOwnNetwork(nftCheck, `${ruleset}nonsense\n`).status).not.toBe(0);
	});

	test.each(machines.map(({ name }) => name))("%s drops what no flow lets in", (name) => {
		expect(rules(name)).toContain("type filter hook input priority filter; policy drop;");
		expect(rules(name)).toContain("type filter hook forward priority filter; policy drop;");
	});

	test("the master lets in its workers, and front to its web service", () => {
		expect(rules("master").filter((rule) => /^ip saddr/.test(rule))).toEqual([
			"ip saddr 10.17.0.2 tcp dport 22 accept",
			"ip saddr 10.17.0.2 tcp dport 8010 accept",
			"ip saddr 10.17.0.2 tcp dport 9989 accept",
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

describe("a remote builder's rules", () => {
	test("can be loaded again and again, and leave the owner's alone", () => {
		const owners = "nft add table inet owner && nft add chain inet owner theirs";
		const twice = "cat > /tmp/rules && nft --file /tmp/rules && nft --file /tmp/rules";
		const loaded = withOwnNetwork(`${owners} && ${twice} && nft list ruleset`, remoteBuilderRuleset());
		expect(loaded.stderr).toBe("");
		expect(loaded.stdout).toContain("chain theirs");
		expect(loaded.stdout.match(/table inet flathub/g)).toHaveLength(1);
		expect(loaded.stdout.match(/meta skuid \S+ jump build/g)).toHaveLength(1);
	});

	test("close every private network to builds, and no port but that of names", () => {
		const rules = remoteBuilderRuleset().split("\n");
		const accepted = rules.filter((rule) => rule.endsWith("accept")).map((rule) => rule.trim());
		expect(accepted).toEqual(["ct state established,related accept", "meta l4proto { tcp, udp } th dport 53 accept"]);
		const rejects = rules.filter((rule) => rule.endsWith("reject")).join("\n");
		for (const network of ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"])
			expect(rejects).toContain(network);
	});
});

test("the security group lets through what the flows from outside list, and pings", () => {
	expect(securityGroupRules()).toEqual([
		{ action: "accept", protocol: "TCP", port: 80 },
		{ action: "accept", protocol: "TCP", port: 443 },
		{ action: "accept", protocol: "TCP", port: 22 },
		{ action: "accept", protocol: "TCP", port: 2222 },
		{ action: "accept", protocol: "TCP", port: 9990 },
		{ action: "accept", protocol: "ICMP" },
	]);
});
