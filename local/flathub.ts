import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Listr } from "listr2";
import { z } from "zod";
import { ensureEngine } from "../engine/ensure.ts";
import { describeError } from "../operations/command.ts";
import { findOrphans } from "../operations/orphans.ts";
import { makeSigningKey, unlockSigning } from "../operations/signing.ts";
import { openStack, type Stack, type StackOutputs } from "../operations/stack.ts";
import { isAlive } from "../process/identity.ts";
import { poll } from "../process/poll.ts";
import { startCloud, stopCloud } from "./cloud-process.ts";
import { checkHost } from "./host-check.ts";
import { account, type LocalSettings, localSettings } from "./settings.ts";
import { createWorld, type World } from "./world/world.ts";

/** The app that `up local` pushes and installs. */
const sampleApp = "org.gnu.hello";

interface UpContext {
	settings: LocalSettings;
	stack: Stack;
	outputs: StackOutputs;
	world: World;
	greeting: string;
}

/** Brings the whole of Flathub up on this machine and ends with an installed app; run again it changes nothing. */
export async function localUp(): Promise<void> {
	const settings = localSettings();
	checkHost(settings);
	const seconds: [string, number][] = [];
	const stage = (title: string, body: (context: UpContext, progress: (line: string) => void) => Promise<void>) => ({
		title,
		task: async (context: UpContext, task: { output: string; title: string }) => {
			const start = performance.now();
			await body(context, (line) => {
				task.output = line;
			});
			const took = (performance.now() - start) / 1000;
			seconds.push([title, took]);
			task.title = `${title} (${took.toFixed(1)} s)`;
		},
		rendererOptions: { persistentOutput: false },
	});

	const context = await new Listr<UpContext, "default", "simple">(
		[
			stage("Engine", async (_, progress) => {
				await ensureEngine({ report: progress });
			}),
			stage("Local cloud", async () => startCloud(settings)),
			stage("Stack", async (context, progress) => {
				context.stack = await openStack("local", progress);
				await ensureSecrets(context.stack);
			}),
			stage("pulumi up", async ({ stack }, progress) => pulumiUp(settings, stack, progress)),
			stage("Signing key", async (context) => {
				context.outputs = await context.stack.outputs();
				await unlockLocalSigning(context.stack);
			}),
			stage("The world outside: GitHub, runtimes, a Flatpak user", async (context, progress) => {
				context.world = await openWorld(context.stack, progress);
				await context.world.start();
			}),
			stage(`Push ${sampleApp}, build, publish`, async ({ world }, progress) => publishSample(world, progress)),
			stage(`flatpak install ${sampleApp}`, async (context) => {
				context.greeting = await installSample(context.world);
			}),
		],
		{ fallbackRenderer: "simple", rendererOptions: { collapseErrors: false } },
	).run({ settings } as UpContext);

	console.log(whereToLook(context, seconds));
}

/** The settings that only the local stack's own copy of the configuration has. */
async function ensureSecrets(stack: Stack): Promise<void> {
	const config = async (...args: string[]) => stack.pulumi(["config", ...args, ...stack.configArguments]);
	const { stdout } = await config("--json");
	const known = JSON.parse(stdout) as Record<string, unknown>;
	const set = (key: string, value: string) =>
		stack.pulumi(["config", "set", "--secret", key, ...stack.configArguments], { input: value });
	if (!("flathub:githubToken" in known)) await set("flathub:githubToken", randomBytes(20).toString("hex"));
	if ("flathub:signingKey" in known) return;
	const passphrase = randomBytes(24).toString("base64url");
	// The passphrase first: a key whose passphrase is lost would be worth nothing.
	await set("local:signingPassphrase", passphrase);
	await set("flathub:signingKey", await makeSigningKey("Flathub local <flathub@flathub.test>", passphrase));
}

async function secretConfig(stack: Stack, key: string): Promise<string> {
	const { stdout } = await stack.pulumi(["config", "get", key, ...stack.configArguments]);
	return stdout;
}

async function pulumiUp(settings: LocalSettings, stack: Stack, progress: (line: string) => void): Promise<void> {
	await recoverKilledUp(settings, stack, progress);
	await stack.pulumi(
		["up", "--yes", "--skip-preview", "--suppress-outputs", "--color", "never", ...stack.configArguments],
		{
			onLine: progress,
		},
	);
}

const lockSchema = z.looseObject({ pid: z.number() });

/** An `up` that was killed leaves a lock, and resources that its state does not know: both go, so that the next can begin. */
async function recoverKilledUp(settings: LocalSettings, stack: Stack, progress: (line: string) => void): Promise<void> {
	const locks = join(settings.stateDir, "pulumi", "backend", ".pulumi", "locks");
	if (!existsSync(locks)) return;
	const held = readdirSync(locks, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".json"));
	if (held.length === 0) return;
	for (const file of held) {
		const { pid } = lockSchema.parse(JSON.parse(readFileSync(join(locks, file), "utf8")));
		if (isAlive(pid)) {
			throw new Error(
				`Stack local is being changed by process ${pid}; wait until it has finished, and run this again.`,
			);
		}
		progress(`process ${pid} was killed in the middle of a change: releasing its lock`);
	}
	await stack.pulumi(["cancel", "--yes", "--stack", stack.name]);
	const recorded = (await stack.resources()).flatMap(({ id }) => (id === undefined ? [] : [id]));
	const cloud = { ...account, apiUrl: settings.apiUrl };
	for (const orphan of await findOrphans(cloud, stack.name, recorded)) {
		progress(`removing ${orphan.kind} ${orphan.name}, which the killed change did not record`);
		await orphan.remove();
	}
}

/** Presets the local passphrase, which lies in the stack's encrypted configuration. */
export async function unlockLocalSigning(stack: Stack): Promise<void> {
	await unlockSigning(await stack.outputs(), await secretConfig(stack, "local:signingPassphrase"));
}

/** The outside of the local stack, connected to its front. */
export async function openWorld(stack: Stack, progress: (line: string) => void = () => {}): Promise<World> {
	const settings = localSettings();
	const outputs = await stack.outputs();
	return createWorld({
		stateDir: settings.stateDir,
		cacheDir: settings.cacheDir,
		frontAddress: outputs.publicAddress,
		webhookUrl: `http://${outputs.publicAddress}/builds/change_hook/github`,
		webhookSecret: outputs.changeHookSecret,
		githubToken: await secretConfig(stack, "flathub:githubToken"),
		progress,
	});
}

async function publishSample(world: World, progress: (line: string) => void): Promise<void> {
	if ((await world.client.run(["flatpak", "info", "--user", sampleApp])).exitCode === 0) return;
	const { commit } = await world.pushSample(sampleApp);
	let shown = "";
	const publish = await poll(`the commit status of ${sampleApp} to say whether it is published`, 1500, async () => {
		const statuses = await world.statuses(sampleApp, commit);
		const states = statuses.map(({ context, state }) => `${context}: ${state}`).join(", ");
		if (states !== shown) progress(states);
		shown = states;
		return statuses.find(({ context, state }) => context === "flathub/publish" && state !== "pending");
	});
	if (publish.state !== "success") {
		throw new Error(`${sampleApp} was not published: ${publish.description} (${publish.target_url})`);
	}
}

async function installSample(world: World): Promise<string> {
	const run = async (...command: string[]) => {
		const { exitCode, stdout, stderr } = await world.client.run(command);
		if (exitCode !== 0) throw new Error(`${command.join(" ")}: exit code ${exitCode}\n${stdout}\n${stderr}`);
		return stdout;
	};
	await run(
		"flatpak",
		"remote-add",
		"--user",
		"--if-not-exists",
		"flathub",
		"http://flathub.test/repo/flathub.flatpakrepo",
	);
	await run(
		"flatpak",
		"remote-add",
		"--user",
		"--if-not-exists",
		"runtimes",
		"http://runtimes.test/runtimes.flatpakrepo",
	);
	await run("flatpak", "install", "--user", "--noninteractive", "--or-update", "flathub", sampleApp);
	return (await run("flatpak", "run", "--user", sampleApp)).trim();
}

function whereToLook({ outputs, greeting }: UpContext, seconds: [string, number][]): string {
	const address = `http://${outputs.publicAddress}`;
	const width = Math.max(...seconds.map(([title]) => title.length));
	return [
		"",
		...seconds.map(([title, took]) => `  ${title.padEnd(width)}  ${took.toFixed(1).padStart(7)} s`),
		"",
		`${sampleApp}, installed from this Flathub, says: ${greeting}`,
		"",
		`  the site             ${address}/`,
		`  Buildbot             ${address}/builds/`,
		"  a shell on a machine ./scripts/ssh local master   (or front, repo, builder-1, builder-2)",
		`  push an app          ./scripts/push ${sampleApp}`,
		"  Pulumi               ./scripts/pulumi local preview",
		"  take it all down     ./scripts/down local",
		"",
	].join("\n");
}

/** Takes the local Flathub off this machine. What `destroy` can't do any more is removed by force, and said. */
export async function localDown(): Promise<void> {
	const settings = localSettings();
	checkRoot();
	await new Listr(
		[
			{
				title: "pulumi destroy",
				skip: () => !existsSync(join(settings.stateDir, "pulumi", "Pulumi.local.yaml")) && "no stack",
				task: async (_, task) => {
					try {
						await startCloud(settings);
						const stack = await openStack("local");
						// A killed `up` leaves its lock behind; nobody else uses this backend.
						await stack.pulumi(["cancel", "--yes", "--stack", "local"], { mayFail: true });
						await stack.pulumi(["destroy", "--yes", "--skip-preview", "--color", "never", ...stack.configArguments], {
							onLine: (line) => {
								task.output = line;
							},
						});
					} catch (error) {
						task.title = `pulumi destroy failed, removing by force: ${describeError(error).split("\n").slice(-6).join("\n")}`;
					}
				},
			},
			{ title: "The world outside", task: async () => stopWorld(settings) },
			{ title: "Local cloud", task: async () => stopCloud(settings) },
			{ title: "State", task: () => rmSync(settings.stateDir, { recursive: true, force: true }) },
		],
		{ fallbackRenderer: "simple" },
	).run();
}

async function stopWorld(settings: LocalSettings): Promise<void> {
	await createWorld({
		stateDir: settings.stateDir,
		cacheDir: settings.cacheDir,
		frontAddress: "",
		webhookUrl: "",
		webhookSecret: "",
		githubToken: "",
		progress: () => {},
	}).stop();
}

function checkRoot(): void {
	if (process.getuid?.() !== 0) throw new Error("scripts/down local needs root: run it with sudo.");
}
