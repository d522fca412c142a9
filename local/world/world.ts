import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { poll } from "../../process/poll.ts";
import { inNamespace, run } from "../../process/run.ts";
import { projectDir } from "../../project-dir.ts";
import { recipeKey } from "../cached-directory.ts";
import { writeWhole } from "../whole-file.ts";
import { FlatpakClient } from "./client.ts";
import type { Delivery } from "./github/deliveries.ts";
import { nameSchema } from "./github/names.ts";
import { type Configuration, configurationSchema, type Settings } from "./github/options.ts";
import { DEFAULT_BRANCH, GIT_ENVIRONMENT } from "./github/repositories.ts";
import type { CommitStatus } from "./github/statuses.ts";
import { attach, detach, endAllIn } from "./network.ts";
import { recordedProcess, startRecorded, stopRecorded } from "./recorded-process.ts";
import { RemoteHosts } from "./remote-hosts.ts";
import { buildRuntimes } from "./runtimes.ts";
import { fetchSources } from "./sources.ts";

const APPS = fileURLToPath(new URL("apps", import.meta.url));
const ORGANIZATION = "flathub";
const GITHUB_ADDRESS = "198.18.0.10";
const CLIENT_ADDRESS = "198.18.0.11";

export interface WorldOptions {
	/** The local Flathub's state; the world's is below it in `world/` and gone after `stop`. */
	stateDir: string;
	/** The local Flathub's cache; the world's is below it in `world/` and stays. */
	cacheDir: string;
	/** The local cloud's network namespace, and the prefix of the world's own. Default: `flathub-local`. */
	prefix?: string;
	/** The bridge in it that stands for the internet. Default: `public`. */
	bridge?: string;
	/** Front's public address, the only thing of Flathub that the Flatpak user's machine knows. */
	frontAddress: string;
	/** Default: `flathub.test`. */
	domain?: string;
	/** Where GitHub announces pushes. */
	webhookUrl: string;
	webhookSecret: string;
	/** The token that may set statuses and push. */
	githubToken: string;
	progress?: (line: string) => void;
}

export interface Push {
	/** Name of the repository: the app's id. Made if it is not there. */
	app: string;
	/** Path → content: what the repository then holds, and nothing else. Either this or `directory`. */
	files?: Record<string, string | Uint8Array>;
	directory?: string;
	/** Default: `master`, the default branch of every repository here. */
	branch?: string;
	message: string;
}

export interface SamplePush {
	branch?: string;
	/** Push the app with a manifest that can't be built. */
	broken?: boolean;
}

const startOptions = z.object({
	frontAddress: z.ipv4(),
	webhookUrl: z.url({ protocol: /^https?$/ }),
	webhookSecret: z.string().min(1),
	githubToken: z.string().min(1),
});

/** What is outside the data centre: GitHub, the repository of runtimes, a machine of somebody who uses Flathub. */
export class World {
	/** The Flatpak user's machine. */
	readonly client: FlatpakClient;
	/** The machines lent to Flathub as remote builders. They are started before the rest of the world, and stopped after it. */
	readonly remoteHosts: RemoteHosts;
	readonly #options: WorldOptions;
	readonly #stateDir: string;
	readonly #cacheDir: string;
	readonly #prefix: string;
	readonly #progress: (line: string) => void;

	constructor(options: WorldOptions) {
		this.#options = options;
		this.#prefix = options.prefix ?? "flathub-local";
		this.#stateDir = join(options.stateDir, "world");
		this.#cacheDir = join(options.cacheDir, "world");
		this.#progress = options.progress ?? (() => {});
		this.remoteHosts = new RemoteHosts({ ...options, progress: this.#progress });
		this.client = new FlatpakClient({
			stateDir: this.#stateDir,
			cacheDir: this.#cacheDir,
			namespace: `${this.#prefix}-user`,
			...(options.domain !== undefined && { domain: options.domain }),
			onProgress: this.#progress,
		});
	}

	get #namespace(): string {
		return `${this.#prefix}-world`;
	}

	#file(name: string): string {
		return join(this.#stateDir, name);
	}

	/** Start all of it; what already runs as it should stays, what runs with other settings gets the new ones. */
	async start(): Promise<void> {
		const parsed = startOptions.safeParse(this.#options);
		if (!parsed.success) throw new Error(`the world can't be started: ${z.prettifyError(parsed.error)}`);
		await mkdir(this.#stateDir, { recursive: true, mode: 0o700 });
		await mkdir(this.#cacheDir, { recursive: true });
		const runtimes = await buildRuntimes({ cacheDir: this.#cacheDir, onProgress: this.#progress });
		const sources = await fetchSources(this.#cacheDir, this.#progress);
		const cable = {
			cloudNamespace: this.#prefix,
			bridge: this.#options.bridge ?? "public",
			gateway: "198.18.0.1",
		};
		this.#progress("GitHub: network");
		await attach({ ...cable, namespace: this.#namespace, port: "world-github", address: `${GITHUB_ADDRESS}/24` });
		await attach({ ...cable, namespace: `${this.#prefix}-user`, port: "world-user", address: `${CLIENT_ADDRESS}/24` });
		await this.#startGitHub(runtimes, sources);
		this.#progress("Flatpak user's machine: disk");
		const domain = this.#options.domain ?? "flathub.test";
		await this.client.prepare({
			[this.#options.frontAddress]: [domain, `dl.${domain}`],
			// The apps' runtimes are somebody else's, as on a real user's machine.
			[GITHUB_ADDRESS]: ["runtimes.test"],
		});
	}

	async #startGitHub(runtimes: string, sources: string): Promise<void> {
		const settings = this.#settings();
		const configuration: Configuration = {
			stateDir: this.#file("github"),
			publicUrl: "http://github.test",
			host: GITHUB_ADDRESS,
			port: 80,
			adminSocket: this.#file("admin.sock"),
			sites: { "runtimes.test": { "/": runtimes, "/sources/": sources } },
			// The secrets reach a running server through its socket; the hook is set there, so that it is pinged.
			settings: { ...settings, hook: null },
		};
		const version = recipeKey([await this.#serverCode(), { ...configuration, settings: null }]);
		const running = await recordedProcess(this.#file("github.pid"));
		writeWhole(this.#file("github.json"), JSON.stringify(configuration));
		if (running?.version !== version) {
			this.#progress("GitHub: server");
			await stopRecorded(this.#file("github.pid"));
			// A server that a crashed run left without its record would still hold the port.
			await endAllIn(this.#namespace);
			await rm(this.#file("admin.sock"), { force: true });
			await startRecorded(
				inNamespace(this.#namespace, [
					...[process.execPath, "--import", "tsx"],
					...[join(projectDir, "local/world/github/server.ts"), this.#file("github.json")],
				]),
				{ cwd: projectDir, logFile: this.#file("github.log"), pidFile: this.#file("github.pid"), version },
			);
			await this.#waitForGitHub();
		}
		await this.#admin("PUT", "/admin/settings", settings);
	}

	#settings(): Settings {
		return {
			token: this.#options.githubToken,
			hook: { url: this.#options.webhookUrl, secret: this.#options.webhookSecret },
		};
	}

	/** Whether pushes from now on are announced to nobody, as if GitHub's deliveries did not arrive. `start` ends that. */
	async loseDeliveries(lose: boolean): Promise<void> {
		const settings = this.#settings();
		await this.#admin("PUT", "/admin/settings", lose ? { ...settings, hook: null } : settings);
	}

	async #serverCode(): Promise<Record<string, string>> {
		const directory = join(projectDir, "local/world/github");
		const names = (await readdir(directory)).filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"));
		return Object.fromEntries(
			await Promise.all(names.sort().map(async (name) => [name, await readFile(join(directory, name), "utf8")])),
		);
	}

	async #waitForGitHub(): Promise<void> {
		const serves = async () => {
			try {
				await this.#admin("GET", "/admin/health");
				return true;
			} catch (error) {
				if ((await recordedProcess(this.#file("github.pid"))) === undefined) return false;
				throw error;
			}
		};
		try {
			if (await poll("its answer", 60, serves, 0.1)) return;
			throw new Error("it ended");
		} catch (error) {
			const log = await readFile(this.#file("github.log"), "utf8").catch(() => "");
			throw new Error(
				`the GitHub stand-in does not serve: ${(error as Error).message}; ${this.#file("github.log")} ends with:\n${log.trim().split("\n").slice(-15).join("\n")}`,
			);
		}
	}

	/** End all of it and remove its state, also what a crashed run left. The cache stays. */
	async stop(): Promise<void> {
		await stopRecorded(this.#file("github.pid"));
		await this.client.stop();
		await detach(this.#namespace);
		await detach(`${this.#prefix}-user`);
		await rm(this.#stateDir, { recursive: true, force: true });
	}

	/** Push a commit with this content to an app's repository, over HTTP as a maintainer does. */
	async push({ app, files, directory, branch = DEFAULT_BRANCH, message }: Push): Promise<{ commit: string }> {
		if (!nameSchema.safeParse(app).success) throw new Error(`${JSON.stringify(app)} can't be the name of a repository`);
		if ((files === undefined) === (directory === undefined)) throw new Error("push takes either files or a directory");
		await this.#admin("GET", "/admin/health");
		const { settings } = configurationSchema.parse(JSON.parse(await readFile(this.#file("github.json"), "utf8")));
		await this.#admin("PUT", `/admin/repositories/${ORGANIZATION}/${app}`);
		const work = await mkdtemp(join(tmpdir(), "flathub-push-"));
		try {
			const tree = join(work, "tree");
			const authorization = Buffer.from(`maintainer:${settings.token}`).toString("base64");
			const git = (...args: string[]) =>
				run(["git", ...args], {
					namespace: this.#namespace,
					cwd: work,
					timeoutSeconds: 120,
					env: {
						...process.env,
						...GIT_ENVIRONMENT,
						...environmentConfig({
							"http.curloptResolve": `github.test:80:${GITHUB_ADDRESS}`,
							"http.proxy": "",
							"http.extraHeader": `Authorization: Basic ${authorization}`,
							"user.name": "Maintainer",
							"user.email": "maintainer@github.test",
							"commit.gpgSign": "false",
						}),
					},
				});
			await git("clone", "--quiet", "--no-checkout", `http://github.test/${ORGANIZATION}/${app}.git`, tree);
			const { stdout: heads } = await git("-C", tree, "ls-remote", "--heads", "origin", branch);
			// A new branch starts where the default branch is, if there is one.
			const { stdout: start } = await git("-C", tree, "for-each-ref", "--format=%(refname)", "refs/remotes/origin");
			const base = heads.trim() === "" ? DEFAULT_BRANCH : branch;
			if (start.split("\n").includes(`refs/remotes/origin/${base}`)) {
				await git("-C", tree, "checkout", "--quiet", "-B", branch, `origin/${base}`);
			} else {
				await git("-C", tree, "checkout", "--quiet", "--orphan", branch);
			}
			for (const entry of await readdir(tree)) {
				if (entry !== ".git") await rm(join(tree, entry), { recursive: true });
			}
			if (directory !== undefined) await cp(directory, tree, { recursive: true });
			for (const [path, content] of Object.entries(files ?? {})) {
				await mkdir(dirname(join(tree, path)), { recursive: true });
				await writeFile(join(tree, path), content);
			}
			await git("-C", tree, "add", "--all");
			await git("-C", tree, "commit", "--quiet", "--allow-empty", `--message=${message}`);
			await git("-C", tree, "push", "--quiet", "origin", `HEAD:refs/heads/${branch}`);
			return { commit: (await git("-C", tree, "rev-parse", "HEAD")).stdout.trim() };
		} finally {
			await rm(work, { recursive: true, force: true });
		}
	}

	/** Push one of the sample apps in `local/world/apps/`. Each push is a new commit. */
	async pushSample(app: string, { branch, broken = false }: SamplePush = {}): Promise<{ commit: string }> {
		const directory = join(APPS, app);
		if (!existsSync(directory) || !nameSchema.safeParse(app).success) {
			throw new Error(`there is no sample app ${app}; there are ${(await sampleApps()).join(", ")}`);
		}
		const push = { app, ...(branch !== undefined && { branch }) };
		if (!broken) return this.push({ ...push, directory, message: `${app}: update` });
		const manifest = JSON.parse(await readFile(join(directory, `${app}.json`), "utf8")) as Record<string, unknown>;
		const files = {
			[`${app}.json`]: JSON.stringify({ ...manifest, modules: [BROKEN_MODULE] }, null, "\t"),
		};
		return this.push({ ...push, files, message: `${app}: break the build` });
	}

	/** What was reported about a commit, the newest first. */
	async statuses(app: string, commit: string): Promise<CommitStatus[]> {
		const path = `/admin/statuses/${ORGANIZATION}/${app}/${commit}`;
		return (await this.#admin("GET", path)) as CommitStatus[];
	}

	/** Webhook deliveries that ended, the oldest first. */
	async deliveries(): Promise<Delivery[]> {
		return (await this.#admin("GET", "/admin/deliveries")) as Delivery[];
	}

	#admin(method: string, path: string, body?: unknown): Promise<unknown> {
		return new Promise((resolve, reject) => {
			const call = request(
				{
					socketPath: this.#file("admin.sock"),
					method,
					path,
					timeout: 10_000,
					...(body !== undefined && { headers: { "content-type": "application/json" } }),
				},
				(response) => {
					let text = "";
					response.setEncoding("utf8");
					response.on("data", (chunk: string) => {
						text += chunk;
					});
					response.on("end", () => {
						if (response.statusCode === 200) resolve(JSON.parse(text));
						else reject(new Error(`GitHub stand-in: ${method} ${path}: ${response.statusCode} ${text}`));
					});
				},
			);
			call.on("timeout", () => call.destroy(new Error("no answer within 10 s")));
			call.on("error", (error: NodeJS.ErrnoException) => {
				const absent = error.code === "ENOENT" || error.code === "ECONNREFUSED";
				reject(
					new Error(`GitHub stand-in: ${absent ? "it does not run (scripts/up local starts it)" : error.message}`),
				);
			});
			call.end(body === undefined ? undefined : JSON.stringify(body));
		});
	}
}

/** The world outside a data centre; nothing is touched before `start`. */
export function createWorld(options: WorldOptions): World {
	return new World(options);
}

/** The ids of the sample apps. */
export async function sampleApps(): Promise<string[]> {
	return (await readdir(APPS)).sort();
}

const BROKEN_MODULE = {
	name: "broken",
	buildsystem: "simple",
	"build-commands": ["echo 'This module can not be built.' >&2", "false"],
};

/** git's configuration as environment variables: not seen in a process list, as arguments are. */
function environmentConfig(configuration: Record<string, string>): Record<string, string> {
	const entries = Object.entries(configuration);
	return Object.fromEntries([
		["GIT_CONFIG_COUNT", String(entries.length)],
		...entries.flatMap(([key, value], index) => [
			[`GIT_CONFIG_KEY_${index}`, key],
			[`GIT_CONFIG_VALUE_${index}`, value],
		]),
	]);
}
