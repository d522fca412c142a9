import { randomBytes } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Listr } from "listr2";
import { z } from "zod";
import { ensureEngine } from "../engine/ensure.ts";
import { startEmulation, stopEmulation } from "../local/binfmt.ts";
import { startCloud, stopCloud } from "../local/cloud-process.ts";
import { checkHost, checkSystem } from "../local/host-check.ts";
import { type LocalSettings, localSettings } from "../local/settings.ts";
import { RemoteHosts } from "../local/world/remote-hosts.ts";
import { createWorld, type World } from "../local/world/world.ts";
import { poll } from "../process/poll.ts";
import { describeError } from "./command.ts";
import { deployKey } from "./deploy-key.ts";
import { endLeftBehind, recoverKilledChange, refuseLiveChange } from "./killed-change.ts";
import { unlockSigning } from "./signing.ts";
import { makeSigningKeys } from "./signing-keys.ts";
import { openStack, type Stack, type StackOutputs } from "./stack.ts";
import { changeStack } from "./update-output.ts";

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
				await recoverKilledChange(changeOf(settings), context.stack, progress);
				await ensureSecrets(context.stack);
			}),
			stage("Remote hosts", async ({ stack }, progress) => lendRemoteHosts(settings, stack, progress)),
			stage("pulumi up", async ({ stack }, progress) => {
				await changeStack(stack, "up", logOf(settings, "up"), progress);
			}),
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
				context.greeting = await context.world.client.installAndRun(sampleApp, "x86_64");
			}),
		],
		{ fallbackRenderer: "simple", rendererOptions: { collapseErrors: false } },
	).run({ settings } as UpContext);

	console.log(whereToLook(context, seconds));
}

/** The stack's configuration, without what is secret. */
async function configOf(stack: Stack): Promise<Record<string, unknown>> {
	const { stdout } = await stack.pulumi(["config", "--json", ...stack.configArguments]);
	return JSON.parse(stdout) as Record<string, unknown>;
}

/** The secrets that only the local stack's own copy of the configuration has. */
async function ensureSecrets(stack: Stack): Promise<void> {
	const known = await configOf(stack);
	const set = (key: string, value: string) =>
		stack.pulumi(["config", "set", "--secret", key, ...stack.configArguments], { input: value });
	if (!("flathub:githubToken" in known)) await set("flathub:githubToken", randomBytes(20).toString("hex"));
	if ("flathub:signingKey" in known) return;
	const passphrase = randomBytes(24).toString("base64url");
	// The primary key is thrown away: nobody keeps this stack. The spare is for rehearsing the rotation.
	const { machine, spare } = await makeSigningKeys("Flathub local <flathub@flathub.test>", passphrase);
	// The key last: without its passphrase or its spare it would be worth nothing.
	await set("local:signingPassphrase", passphrase);
	await set("local:spareSigningKey", spare);
	await set("flathub:signingKey", machine);
}

async function secretConfig(stack: Stack, key: string): Promise<string> {
	const { stdout } = await stack.pulumi(["config", "get", key, ...stack.configArguments]);
	return stdout;
}

const remoteBuildersSchema = z.looseObject({
	"flathub:remoteBuilders": z
		.looseObject({
			objectValue: z.record(z.string(), z.looseObject({ host: z.ipv4(), hostKey: z.string().optional() })),
		})
		.optional(),
});

/**
 * What whoever lends machines to Flathub does: for each remote builder of the configuration a machine at its address, whose
 * host key the configuration gets, and which lets the stack's deployments in.
 */
async function lendRemoteHosts(settings: LocalSettings, stack: Stack, progress: (line: string) => void): Promise<void> {
	await startEmulation(emulationUser);
	const hosts = new RemoteHosts({ ...settings, progress });
	const builders = remoteBuildersSchema.parse(await configOf(stack))["flathub:remoteBuilders"]?.objectValue ?? {};
	const names = Object.keys(builders);
	await hosts.start(Object.fromEntries(Object.entries(builders).map(([name, { host }]) => [name, host])));
	for (const [name, { hostKey }] of Object.entries(builders)) {
		if (hostKey === hosts.hostKey(name)) continue;
		const key = `flathub:remoteBuilders.${name}.hostKey`;
		await stack.pulumi(["config", "set", "--path", key, hosts.hostKey(name), ...stack.configArguments]);
	}
	if (names.length === 0) return;
	progress("deploy key");
	const key = await deployKey(stack);
	for (const name of names) await hosts.letIn(name, key);
}

const emulationUser = "flathub-local";

const changeOf = ({ apiUrl, stateDir }: LocalSettings) => ({ apiUrl, backend: join(stateDir, "pulumi", "backend") });

/** The state folder is gone after `down`, so what a destroy said is kept in the cache. */
const logOf = ({ stateDir, cacheDir }: LocalSettings, command: "up" | "destroy") =>
	join(command === "up" ? stateDir : cacheDir, `pulumi-${command}.log`);

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
		// The newest come first: of each context the last one stays.
		const latest = new Map(statuses.toReversed().map(({ context, state }) => [context, state]));
		const states = [...latest].map(([context, state]) => `${context}: ${state}`).join(", ");
		if (states !== shown) progress(states);
		shown = states;
		return statuses.find(({ context, state }) => context === "flathub/publish" && state !== "pending");
	});
	if (publish.state !== "success") {
		throw new Error(`${sampleApp} was not published: ${publish.description} (${publish.target_url})`);
	}
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
		`  by name              add "${outputs.publicAddress} flathub.test dl.flathub.test" to /etc/hosts, then ${outputs.publicUrl}/`,
		"  a shell on a machine ./scripts/ssh local master   (or front, repo, builder-1, codethink-1…)",
		`  push an app          ./scripts/push ${sampleApp}`,
		"  Pulumi               ./scripts/pulumi local preview",
		"  take it all down     ./scripts/down local",
		"",
	].join("\n");
}

/** Takes the local Flathub off this machine. What `destroy` can't do any more is removed by force, and said. */
export async function localDown(): Promise<void> {
	const settings = localSettings();
	checkSystem("scripts/down local");
	const { backend } = changeOf(settings);
	refuseLiveChange({ backend }, "local");
	await endLeftBehind(backend);
	await new Listr(
		[
			{
				title: "pulumi destroy",
				skip: () => !existsSync(join(settings.stateDir, "pulumi", "Pulumi.local.yaml")) && "no stack",
				task: async (_, task) => {
					try {
						await startCloud(settings);
						const hosts = new RemoteHosts(settings);
						for (const name of hosts.names()) await hosts.powerOn(name);
						const stack = await openStack("local");
						// A killed `up` leaves its lock behind; nobody else uses this backend.
						await stack.pulumi(["cancel", "--yes", "--stack", "local"], { mayFail: true });
						await changeStack(stack, "destroy", logOf(settings, "destroy"), (line) => {
							task.output = line;
						});
					} catch (error) {
						task.title = `pulumi destroy failed, removing by force: ${describeError(error)}`;
					}
				},
			},
			{
				title: "The world outside",
				task: async () => {
					await stopWorld(settings);
					await new RemoteHosts(settings).stop();
					await stopEmulation(emulationUser);
				},
			},
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
