import { spawn, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statfsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { cliVersion, type PluginVersions, pluginFolder } from "./pins.ts";
import { duration, type Report } from "./progress.ts";

/** One binary of the engine. */
export interface Part {
	/** What the progress calls it. */
	title: string;
	/** The folder of its Go module, beside this file. */
	module: string;
	/** The Go package. */
	package: string;
	/** Where the binary goes, under PULUMI_HOME. */
	output: string;
	/** Arguments of `go build` before the package. */
	flags: string[];
}

const stripped = "-s -w";

/** The parts in the order in which they are built: the longest first, so that what fails fails early. */
export function parts(versions: PluginVersions): Part[] {
	const cli = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi";
	const versionFlag = `github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v${cliVersion}`;
	const plugin = (name: "scaleway" | "command" | "random" | "tls", module: string, path: string): Part => ({
		title: `the ${name} plugin ${versions[name]}`,
		module,
		package: path,
		output: join(pluginFolder(name, versions[name]), `pulumi-resource-${name}`),
		flags: ["-ldflags", `${stripped} -X main.version=${versions[name]}`],
	});
	return [
		{
			title: `the Pulumi CLI ${cliVersion}`,
			module: "cli",
			package: cli,
			output: "bin/pulumi",
			// Without its version the CLI's own version checks fail.
			flags: ["-tags", "osusergo,grpcnotrace", "-ldflags", `${stripped} -X ${versionFlag}`],
		},
		plugin("scaleway", "scaleway", "."),
		plugin("command", "plugins", "./pulumi-resource-command"),
		plugin("random", "plugins", "./pulumi-resource-random"),
		plugin("tls", "plugins", "./pulumi-resource-tls"),
		{
			title: "the Node.js language host",
			module: "language-nodejs",
			package: "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs",
			output: "libexec/pulumi-language-nodejs",
			flags: ["-ldflags", stripped],
		},
		{
			title: "the language host's launcher",
			module: "language-nodejs",
			package: ".",
			output: "bin/pulumi-language-nodejs",
			flags: ["-ldflags", stripped],
		},
	];
}

/** What a first build needs, in GiB: the binaries, Go's build cache, and the sources that Go downloads. */
export const neededGb = { home: 1, buildCache: 4, modules: 5 };

export interface BuildOptions {
	engineFolder: string;
	/** The folder that becomes PULUMI_HOME; made here. */
	target: string;
	log: string;
	versions: PluginVersions;
	report: Report;
	signal?: AbortSignal | undefined;
}

/** Builds every part into target. Throws with the end of the log if one fails. */
export async function build(options: BuildOptions): Promise<void> {
	checkSpace(options.target, goEnvironment());
	const all = parts(options.versions);
	const started = Date.now();
	options.report(`building the engine from Go modules: ${all.length} parts, about 10 minutes the first time`);
	options.report(`the log is ${options.log}`);
	rmSync(options.log, { force: true });
	for (const [index, part] of all.entries()) {
		await buildPart(part, `[${index + 1}/${all.length}]`, options);
	}
	options.report(`the engine is built, in ${duration(Date.now() - started)}`);
}

async function buildPart(part: Part, position: string, options: BuildOptions): Promise<void> {
	const output = join(options.target, part.output);
	mkdirSync(dirname(output), { recursive: true });
	const started = Date.now();
	options.report(`${position} building ${part.title}`);
	const ticker = setInterval(() => {
		options.report(`${position} still building ${part.title}, ${duration(Date.now() - started)}`);
	}, 30_000);
	const log = openSync(options.log, "a");
	try {
		const go = spawn("go", ["build", "-trimpath", ...part.flags, "-o", output, part.package], {
			cwd: join(options.engineFolder, part.module),
			env: { ...process.env, CGO_ENABLED: "0" },
			stdio: ["ignore", log, log],
			...(options.signal ? { signal: options.signal } : {}),
		});
		const code = await new Promise<number | null>((resolve, reject) => {
			go.once("error", (error) =>
				reject(options.signal?.aborted ? new Error("the build was ended; running it again goes on from there") : error),
			);
			go.once("exit", resolve);
		});
		if (code !== 0) throw new Error(buildFailed(part, code, readFileSync(options.log, "utf8"), options.log));
	} finally {
		clearInterval(ticker);
		closeSync(log);
	}
	options.report(`${position} built ${part.title} in ${duration(Date.now() - started)}`);
}

/** The message for a part that did not build: the end of the log and what to do. */
export function buildFailed(part: Part, code: number | null, log: string, file: string): string {
	const tail = log.trimEnd().split("\n").slice(-20);
	return [
		`building ${part.title} failed (go build in engine/${part.module}, exit code ${code ?? "none: it was ended"}):`,
		...tail.map((line) => `  ${line}`),
		`The whole log is ${file}. Go needs to reach its module proxy (see "go env GOPROXY"); what was built so far is in`,
		"Go's cache, so running this again goes on from there. Or install Pulumi and its plugins by hand: they are used",
		"when they are found.",
	].join("\n");
}

interface GoEnvironment {
	GOCACHE: string;
	GOMODCACHE: string;
}

function goEnvironment(): GoEnvironment {
	const go = spawnSync("go", ["env", "-json", "GOCACHE", "GOMODCACHE"], { encoding: "utf8" });
	if (go.error || go.status !== 0) {
		throw new Error(
			"Pulumi's download site can't be reached, and to build the engine there is no Go: install Go 1.26 or later " +
				"(https://go.dev/dl/), or Pulumi itself",
		);
	}
	return JSON.parse(go.stdout) as GoEnvironment;
}

function checkSpace(target: string, go: GoEnvironment): void {
	const needs = [
		{ folder: target, gb: neededGb.home },
		{ folder: go.GOCACHE, gb: neededGb.buildCache },
		{ folder: go.GOMODCACHE, gb: neededGb.modules },
	];
	const devices = new Map<number, { folders: string[]; gb: number; freeGb: number }>();
	for (const { folder, gb } of needs) {
		mkdirSync(folder, { recursive: true });
		const device = statSync(folder).dev;
		const { bavail, bsize } = statfsSync(folder);
		const entry = devices.get(device) ?? { folders: [], gb: 0, freeGb: (bavail * bsize) / 2 ** 30 };
		entry.folders.push(folder);
		// What an earlier build left in Go's caches is not needed again.
		entry.gb += isEmpty(folder) ? gb : gb / 4;
		devices.set(device, entry);
	}
	const problem = [...devices.values()].map(spaceProblem).find((text) => text !== undefined);
	if (problem) throw new Error(problem);
}

function isEmpty(folder: string): boolean {
	return readdirSync(folder).length === 0;
}

/** The message if a device has too little room; undefined if it has enough. */
export function spaceProblem(device: { folders: string[]; gb: number; freeGb: number }): string | undefined {
	if (device.freeGb >= device.gb) return undefined;
	const need = device.gb.toFixed(1);
	return `not enough space to build the engine: ${device.folders.join(", ")} need ${need} GiB, ${device.freeGb.toFixed(1)} GiB are free`;
}
