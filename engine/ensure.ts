import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "../process/lock.ts";
import { build } from "./build.ts";
import { download, downloadSite, findInstalled } from "./official.ts";
import { cliVersion, engineKey, type PluginVersions, readPluginVersions } from "./pins.ts";
import type { Report } from "./progress.ts";

const engineFolder = import.meta.dirname;

/** How long to wait for another process that builds the same engine, in seconds. */
const lockSeconds = 3600;

export interface EngineOptions {
	/** Takes the lines of progress. Default: standard error. */
	report?: Report;
	/** Ends a build. */
	signal?: AbortSignal;
	/** Where engines are kept. Default: flathub-infrastructure/engine in the user's cache. */
	cacheFolder?: string;
	/** The official downloads' address; undefined is Pulumi's, null never downloads. */
	site?: string | null;
}

export interface Engine {
	/** The CLI's path. */
	pulumi: string;
	/** PULUMI_HOME. */
	home: string;
	/** What the environment of every `pulumi` needs on top of the caller's own. */
	env: Record<string, string>;
}

/**
 * Finds or makes a Pulumi CLI with the plugins that the program needs, for the local stack: one that is already installed,
 * else the official downloads, else one built from Go modules, where command, random and tls are stand-ins. What was made
 * once is found again without any network.
 * Throws one readable message if none can be had.
 */
export async function ensureEngine(options: EngineOptions = {}): Promise<Engine> {
	const report = options.report ?? ((line) => process.stderr.write(`${line}\n`));
	const cache = options.cacheFolder ?? defaultCacheFolder();
	const versions = readPluginVersions(join(engineFolder, "..", "package.json"));
	const path = process.env.PATH ?? "";

	const installed = findInstalled(versions, path, cache);
	if (installed) {
		return { ...installed, env: { PULUMI_SKIP_UPDATE_CHECK: "true" } };
	}
	const key = engineKey(engineFolder, versions, `${process.platform}-${process.arch}`);
	const downloaded = join(cache, `official-${cliVersion}-${Object.values(versions).join("-")}`);
	const built = join(cache, key);
	if (existsSync(downloaded)) return officialEngine(downloaded, path);
	if (existsSync(built)) return builtEngine(built, path);

	mkdirSync(cache, { recursive: true });
	if (options.site !== null && (await download(downloaded, versions, report, options.site ?? downloadSite))) {
		return officialEngine(downloaded, path);
	}
	await withLock(
		join(cache, `${key}.lock`),
		lockSeconds,
		() => report("another process is building the engine; waiting for it"),
		async () => {
			if (!existsSync(built)) await buildInto(cache, key, versions, report, options.signal);
		},
	);
	return builtEngine(built, path);
}

/** Builds beside the final place and moves there in one step, so that what exists is complete. */
async function buildInto(
	cache: string,
	key: string,
	versions: PluginVersions,
	report: Report,
	signal: AbortSignal | undefined,
): Promise<void> {
	for (const name of readdirSync(cache)) {
		// The lock is ours, so this is what a killed build left.
		if (name.startsWith(`${key}.building`)) rmSync(join(cache, name), { recursive: true });
	}
	const target = join(cache, `${key}.building`);
	await build({ engineFolder, target, log: join(cache, `${key}.log`), versions, report, signal });
	renameSync(target, join(cache, key));
}

function officialEngine(home: string, path: string): Engine {
	const bin = join(home, "bin");
	const env = { PATH: `${bin}${delimiter}${path}`, PULUMI_HOME: home, PULUMI_SKIP_UPDATE_CHECK: "true" };
	return { pulumi: join(bin, "pulumi"), home, env };
}

function builtEngine(home: string, path: string): Engine {
	const engine = officialEngine(home, path);
	// There is nowhere to get anything from, and trying costs the time of many connections.
	const offline = { PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true", PULUMI_DISABLE_REGISTRY_RESOLVE: "true" };
	return { ...engine, env: { ...engine.env, ...offline } };
}

/** Where engines are kept. */
export function defaultCacheFolder(): string {
	const base = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
	return join(base, "flathub-infrastructure", "engine");
}

/** The environment as lines for a shell to evaluate. */
export function exportLines(env: Record<string, string>): string {
	return Object.entries(env)
		.map(([name, value]) => `export ${name}='${value.replaceAll("'", `'\\''`)}'\n`)
		.join("");
}

async function main(args: string[]): Promise<void> {
	const unknown = args.filter((arg) => arg !== "--json");
	if (unknown.length > 0) throw new Error(`unknown argument ${unknown.join(" ")}; usage: ensure.ts [--json]`);
	const ended = new AbortController();
	for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => ended.abort());
	const engine = await ensureEngine({ signal: ended.signal });
	process.stdout.write(args.includes("--json") ? `${JSON.stringify(engine)}\n` : exportLines(engine.env));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	main(process.argv.slice(2)).catch((error: unknown) => {
		process.stderr.write(`engine: ${error instanceof Error ? error.message : String(error)}\n`);
		process.exitCode = 1;
	});
}
