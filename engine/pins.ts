import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** The CLI's version. It is the one in cli/go.mod. */
export const cliVersion = "3.259.0";

/** The plugins that the program needs, and the npm package that each must have the version of. */
const packages = {
	scaleway: "@pulumiverse/scaleway",
	command: "@pulumi/command",
	random: "@pulumi/random",
	tls: "@pulumi/tls",
} as const;

export type PluginName = keyof typeof packages;
export type PluginVersions = Record<PluginName, string>;

export const pluginNames = Object.keys(packages) as PluginName[];

/** The folder of a plugin under PULUMI_HOME, as the CLI looks for it. */
export function pluginFolder(name: PluginName, version: string): string {
	return join("plugins", `resource-${name}-v${version}`);
}

/** Reads the plugins' versions from package.json, where they are pinned exactly. Throws if one is missing or a range. */
export function readPluginVersions(packageJson: string): PluginVersions {
	const { dependencies } = z
		.object({ dependencies: z.record(z.string(), z.string()) })
		.parse(JSON.parse(readFileSync(packageJson, "utf8")));
	const version = (name: PluginName): string => {
		const pin = dependencies[packages[name]];
		if (!pin || !/^\d+\.\d+\.\d+$/.test(pin)) {
			throw new Error(`${packageJson}: ${packages[name]} is ${pin ?? "missing"}, expected an exact version like 1.2.3`);
		}
		return pin;
	};
	return {
		scaleway: version("scaleway"),
		command: version("command"),
		random: version("random"),
		tls: version("tls"),
	};
}

/** Whether version is at least minimum; both are MAJOR.MINOR.PATCH, with or without a leading v. */
export function atLeast(version: string, minimum: string): boolean {
	const numbers = (text: string): number[] => text.replace(/^v/, "").split(/[.+-]/, 3).map(Number);
	const [have, want] = [numbers(version), numbers(minimum)];
	for (const [index, wanted] of want.entries()) {
		const difference = (have[index] ?? 0) - wanted;
		if (difference !== 0) return difference > 0;
	}
	return true;
}

/** The modules that the engine is built from, as folders beside this file. */
export const modules = ["cli", "language-nodejs", "plugins", "scaleway"] as const;

/**
 * Names what a build makes: the same sources, versions and platform give the same key, and a changed byte another one.
 * Tests are left out, since they are in no binary.
 */
export function engineKey(engineFolder: string, versions: PluginVersions, platform: string): string {
	const hash = createHash("sha256");
	hash.update(JSON.stringify([cliVersion, Object.entries(versions).sort(), platform]));
	// The flags of the builds are part of what is made.
	hash.update(readFileSync(join(engineFolder, "build.ts")));
	for (const module of modules) {
		const files = readdirSync(join(engineFolder, module), { recursive: true, encoding: "utf8" })
			.filter((file) => /(^|\/)go\.(mod|sum)$|\.go$/.test(file) && !file.endsWith("_test.go"))
			.sort();
		for (const file of files) {
			const text = readFileSync(join(engineFolder, module, file));
			hash.update(`\0${module}/${file}\0${text.length}\0`).update(text);
		}
	}
	return hash.digest("hex").slice(0, 16);
}
