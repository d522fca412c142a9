import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { atLeast, cliVersion, type PluginName, type PluginVersions, pluginFolder, pluginNames } from "./pins.ts";
import type { Report } from "./progress.ts";

/** Where the official downloads are. */
export const downloadSite = "https://get.pulumi.com/releases/sdk";

/** How long to wait for the download site before building instead, in seconds. */
const connectSeconds = 5;

/** Finds an executable on a PATH; undefined if there is none. Folders under `except` are passed over. */
export function findOnPath(name: string, path: string, except: string): string | undefined {
	for (const folder of path.split(delimiter)) {
		const file = join(folder, name);
		try {
			accessSync(file, constants.X_OK);
			if (!realpathSync(file).startsWith(`${except}/`)) return file;
		} catch {
			// Not in this folder.
		}
	}
	return undefined;
}

/** The plugins that a PULUMI_HOME lacks. */
export function missingPlugins(home: string, versions: PluginVersions): PluginName[] {
	return pluginNames.filter(
		(name) => !existsSync(join(home, pluginFolder(name, versions[name]), `pulumi-resource-${name}`)),
	);
}

/** A Pulumi that is already there: on the PATH, new enough, and with every plugin. */
export function findInstalled(
	versions: PluginVersions,
	path: string,
	except: string,
): { pulumi: string; home: string } | undefined {
	const pulumi = findOnPath("pulumi", path, except);
	if (!pulumi || !findOnPath("pulumi-language-nodejs", path, except)) return undefined;
	const home = operatorsHome(process.env);
	if (missingPlugins(home, versions).length > 0) return undefined;
	return atLeast(versionOf(pulumi), cliVersion) ? { pulumi, home } : undefined;
}

/**
 * The environment for an operator's own stack: the official CLI that is on the PATH, with the operator's PULUMI_HOME, where
 * the logins are. That plugins are missing is no fault: Pulumi installs them when a program needs them.
 *
 * @param made folder of the engines made here: nothing in it is for such a stack
 * @throws Error if there is no official CLI, if it is too old, or if PULUMI_HOME is an engine made here
 */
export function operatorsEnvironment(env: NodeJS.ProcessEnv, made: string): NodeJS.ProcessEnv {
	const path = env.PATH ?? "";
	const pulumi = findOnPath("pulumi", path, made);
	if (!pulumi) {
		throw new Error(
			`There is no official Pulumi CLI on the PATH; expected ${cliVersion} or newer: https://www.pulumi.com/docs/install/. An engine that was built here has stand-ins for the command, random and tls plugins, and is for the local stack only.`,
		);
	}
	const version = versionOf(pulumi);
	if (!atLeast(version, cliVersion)) {
		throw new Error(`${pulumi} is ${version || "no Pulumi that runs"}, expected ${cliVersion} or newer.`);
	}
	if (`${resolve(operatorsHome(env))}/`.startsWith(`${made}/`)) {
		throw new Error(
			`PULUMI_HOME is ${env.PULUMI_HOME}, an engine made for the local stack; expected your own, or none set.`,
		);
	}
	// The one that was found, and its language host, before any that was made here.
	return { ...env, PATH: `${dirname(pulumi)}${delimiter}${path}`, PULUMI_SKIP_UPDATE_CHECK: "true" };
}

function operatorsHome(env: NodeJS.ProcessEnv): string {
	return env.PULUMI_HOME || join(homedir(), ".pulumi");
}

/** What `pulumi version` prints; nothing if it fails. */
function versionOf(pulumi: string): string {
	const asked = spawnSync(pulumi, ["version"], {
		encoding: "utf8",
		env: { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "true" },
	});
	return asked.status === 0 ? asked.stdout.trim() : "";
}

/**
 * Downloads the official CLI and lets it install the official plugins, into target. Returns false, having said why, if
 * that can't be done; then nothing is left behind.
 */
export async function download(
	target: string,
	versions: PluginVersions,
	report: Report,
	site: string = downloadSite,
): Promise<boolean> {
	const platform = `${process.platform}-${process.arch}`;
	const archive = `pulumi-v${cliVersion}-${platform}.tar.gz`;
	const temporary = `${target}.downloading-${process.pid}`;
	try {
		const sums = await fetchBytes(`${site}/pulumi-${cliVersion}-checksums.txt`, connectSeconds);
		report(`downloading Pulumi ${cliVersion} from ${new URL(site).host}`);
		const bytes = await fetchBytes(`${site}/${archive}`, 600);
		checkSum(bytes, archive, sums.toString("utf8"));
		mkdirSync(temporary, { recursive: true });
		writeFileSync(join(temporary, archive), bytes);
		mkdirSync(join(temporary, "bin"));
		run("tar", ["-xzf", join(temporary, archive), "--strip-components=1", "-C", join(temporary, "bin")], {});
		rmSync(join(temporary, archive));
		for (const name of pluginNames) {
			report(`downloading the ${name} plugin ${versions[name]}`);
			installPlugin(join(temporary, "bin", "pulumi"), temporary, name, versions[name]);
		}
		renameSync(temporary, target);
		return true;
	} catch (error) {
		rmSync(temporary, { recursive: true, force: true });
		report(`the official Pulumi can't be had (${reason(error)})`);
		return false;
	}
}

function installPlugin(pulumi: string, home: string, name: PluginName, version: string): void {
	const server = name === "scaleway" ? ["--server", "github://api.github.com/pulumiverse"] : [];
	run(pulumi, ["plugin", "install", "resource", name, version, ...server], {
		PULUMI_HOME: home,
		PULUMI_SKIP_UPDATE_CHECK: "true",
		PATH: `${dirname(pulumi)}${delimiter}${process.env.PATH}`,
	});
}

function run(command: string, args: string[], env: Record<string, string>): void {
	const done = spawnSync(command, args, { encoding: "utf8", env: { ...process.env, ...env }, timeout: 600_000 });
	if (done.error) throw done.error;
	if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr.trim()}`);
}

/** The first request finds out whether the site can be reached at all, so its deadline is short. */
async function fetchBytes(url: string, deadlineSeconds: number): Promise<Buffer> {
	const response = await fetch(url, { signal: AbortSignal.timeout(deadlineSeconds * 1000) });
	if (!response.ok) throw new Error(`${url} answers ${response.status}`);
	return Buffer.from(await response.arrayBuffer());
}

/** Throws unless the list of SHA-256 sums has this file with this content. */
export function checkSum(bytes: Uint8Array, file: string, sums: string): void {
	const line = sums.split("\n").find((text) => text.trim().endsWith(` ${file}`));
	if (!line) throw new Error(`the list of checksums does not have ${file}`);
	const actual = createHash("sha256").update(bytes).digest("hex");
	const expected = line.trim().split(/\s+/)[0];
	if (actual !== expected) throw new Error(`${file} has the checksum ${actual}, expected ${expected}`);
}

function reason(error: unknown): string {
	if (!(error instanceof Error)) return String(error);
	return error.cause instanceof Error && error.cause.message ? error.cause.message : error.message;
}
