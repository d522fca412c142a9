import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, expect, test } from "vitest";
import { buildersOf, machinesOf, remoteBuildersOf } from "../stacks/config.ts";
import { nftablesRuleset } from "../stacks/flows.ts";
import {
	authorizedKeysFor,
	builderInventory,
	frontInventory,
	hostsFor,
	masterInventory,
	remoteBuilderInventory,
	repoInventory,
} from "../stacks/generated.ts";
import { remoteBuilderRuleset } from "../stacks/remote-builder-firewall.ts";
import { type Asked, certificateEnd, certificatePem, deployMocked } from "./mocked.ts";
import { stackConfig } from "./stack-file.ts";

/**
 * The whole of Pulumi.prod.yaml, one file a resource and one for every generated file: what a review sees of a change.
 * UPDATE_GOLDEN=1 writes them anew.
 */
const folder = new URL("golden/prod", import.meta.url).pathname;

const config = stackConfig("prod");
let made: Map<string, string>;

beforeAll(async () => {
	const { asked } = await deployMocked(config, "prod");
	made = new Map([
		...[...asked.values()].map((resource): [string, string] => [`${resource.name}.json`, goldenResource(resource)]),
		...generatedFiles(),
	]);
	if (process.env.UPDATE_GOLDEN) {
		rmSync(folder, { recursive: true, force: true });
		for (const [name, content] of made) {
			mkdirSync(dirname(join(folder, name)), { recursive: true });
			writeFileSync(join(folder, name), content);
		}
	}
});

test("there is a golden file for every resource and every generated file, and no other", () => {
	const files = readdirSync(folder, { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
	expect(files.sort()).toEqual([...made.keys()].sort());
});

test("everything is as the golden files have it", () => {
	for (const [name, content] of made) {
		expect(content, name).toBe(readFileSync(join(folder, name), "utf8"));
	}
});

function generatedFiles(): [string, string][] {
	const machines = machinesOf(config);
	const remotes = remoteBuildersOf(config);
	const certificate = (name: string) => ({ certificatePem: certificatePem(name), expires: certificateEnd });
	const inventories: Record<string, unknown> = {
		front: frontInventory(config, {
			proxy: certificate("worker-proxy-certificate"),
			workers: Object.fromEntries(remotes.map(({ name }) => [name, certificate(`${name}-worker-certificate`)])),
		}),
		master: masterInventory(config),
		repo: repoInventory(config),
		...Object.fromEntries(buildersOf(config).map((builder) => [builder.name, builderInventory(builder, config)])),
		...Object.fromEntries(
			remotes.map((remote) => [remote.name, remoteBuilderInventory(remote, config, "198.51.100.7")]),
		),
	};
	return [
		["generated/hosts", hostsFor(config)],
		["generated/authorized_keys", authorizedKeysFor(config, "ssh-ed25519 PUBLIC-HALF-OF-deploy-key")],
		...Object.entries(inventories).map(([name, inventory]): [string, string] => [
			`generated/${name}/inventory.json`,
			`${JSON.stringify(inventory, null, 2)}\n`,
		]),
		...machines.map((machine): [string, string] => [
			`generated/${machine.name}/nftables.conf`,
			nftablesRuleset(machine, { machines, privateNetwork: config.privateNetwork }),
		]),
		...remotes.map(({ name }): [string, string] => [`generated/${name}/nftables.conf`, remoteBuilderRuleset()]),
	];
}

function goldenResource({ type, name, inputs, options }: Asked): string {
	const golden = { type, name, inputs: lines(inputs), options: goldenOptions(options) };
	return `${JSON.stringify(golden, null, 2)}\n`;
}

/** Text of several lines as a list, so that a diff shows the line; hashes of bundles, which are no input, as a word. */
function lines(value: unknown): unknown {
	if (typeof value === "string") {
		const text = value.replace(/\b[0-9a-f]{64}\b/g, "<sha256>").replace(/\b[0-9a-f]{16}\b/g, "<release>");
		return text.includes("\n") ? text.split("\n") : text;
	}
	if (Array.isArray(value)) return value.map(lines);
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(
		Object.entries(value)
			.sort(([a], [b]) => (a < b ? -1 : 1))
			.map(([key, inner]) => [key, lines(inner)]),
	);
}

/** Resources among options by name: what an option points at is what matters. */
function goldenOptions(options: pulumi.CustomResourceOptions): unknown {
	const named = (value: unknown): unknown => {
		if (pulumi.Resource.isInstance(value)) return (value as unknown as { __name: string }).__name;
		return Array.isArray(value) ? value.map(named) : value;
	};
	return Object.fromEntries(
		Object.entries(options)
			.filter(
				([key, value]) => !["transformations", "version", "pluginDownloadURL"].includes(key) && value !== undefined,
			)
			.sort(([a], [b]) => (a < b ? -1 : 1))
			.map(([key, value]) => [key, named(value)]),
	);
}
