import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { defaultCacheFolder, ensureEngine } from "../engine/ensure.ts";
import { operatorsEnvironment } from "../engine/official.ts";
import { localSettings } from "../local/settings.ts";
import { writeWhole } from "../local/whole-file.ts";
import { type Finished, type RunOptions, run } from "../process/run.ts";
import { projectDir } from "../project-dir.ts";

/** A Pulumi stack with the environment that its commands need. */
export interface Stack {
	name: string;
	env: Record<string, string | undefined>;
	/** Its configuration. */
	configFile: string;
	/** Arguments that every command on the stack's configuration needs. */
	configArguments: string[];
	/** Runs `pulumi ARGS` in the project. */
	pulumi(args: string[], options?: Omit<RunOptions, "cwd" | "env" | "namespace">): Promise<Finished>;
	/** What the stack's state records. */
	resources(): Promise<StackResource[]>;
	/** The stack's outputs, secrets in clear: for this process's own use, never to be printed. */
	outputs(): Promise<StackOutputs>;
}

const exportSchema = z.looseObject({
	deployment: z.looseObject({
		resources: z
			.array(
				z.looseObject({
					urn: z.string(),
					type: z.string(),
					id: z.string().optional(),
					outputs: z.record(z.string(), z.unknown()).optional(),
					/** Why it was made only in part. */
					initErrors: z.array(z.string()).optional(),
				}),
			)
			.default([]),
	}),
});
export type StackResource = z.infer<typeof exportSchema>["deployment"]["resources"][number];

/** The URN of a machine's server. @throws Error that names the machines there are. */
export function serverUrn(resources: StackResource[], machine: string): string {
	const suffix = "-server";
	const servers = resources.filter(({ type }) => type === "scaleway:instance/server:Server").map(({ urn }) => urn);
	const urn = servers.find((candidate) => candidate.split("::").at(-1) === `${machine}${suffix}`);
	if (urn === undefined) {
		const known = servers.map((server) => server.split("::").at(-1)?.replace(suffix, "")).join(", ");
		throw new Error(`Machine ${JSON.stringify(machine)} is not in the stack; expected one of: ${known}.`);
	}
	return urn;
}

const outputsSchema = z.object({
	publicAddress: z.string(),
	publicUrl: z.string(),
	machines: z.record(z.string(), z.object({ address: z.string(), serverId: z.string() })),
	/** Machines that Pulumi did not make: where their SSH service is, and who logs in. */
	remoteBuilders: z.record(z.string(), z.object({ host: z.string(), port: z.number(), user: z.string() })).default({}),
	hostKeys: z.record(z.string(), z.string()),
	deployKey: z.string(),
	changeHookSecret: z.string(),
});
/** What index.ts exports. */
export type StackOutputs = z.infer<typeof outputsSchema>;

/** Opens a stack: `local` is the one on this machine, any other name an ordinary stack of the operator's own backend. */
export async function openStack(name: string, progress: (line: string) => void = () => {}): Promise<Stack> {
	if (!/^[a-z][a-z0-9-]*$/.test(name)) {
		throw new Error(`Stack ${JSON.stringify(name)}: expected a name of lower-case letters, digits and hyphens.`);
	}
	if (name !== "local") {
		const env = operatorsEnvironment(process.env, defaultCacheFolder());
		return makeStack(name, env, join(projectDir, `Pulumi.${name}.yaml`), ["--stack", name]);
	}
	const engine = await ensureEngine({ report: progress });
	const local = localStackEnvironment({ ...process.env, ...engine.env });
	const configFile = await prepareLocalStack(local.env, local.dir);
	return makeStack(name, local.env, configFile, ["--stack", name, "--config-file", configFile]);
}

/** A stack of these parts, which Stack describes. */
export function makeStack(name: string, env: Stack["env"], configFile: string, configArguments: string[]): Stack {
	const pulumi: Stack["pulumi"] = async (args, options = {}) => {
		if (!options.interactive) requirePassphrase(name, configFile, env);
		return run(["pulumi", ...args], { timeoutSeconds: Infinity, ...options, cwd: projectDir, env });
	};
	return {
		name,
		env,
		configFile,
		configArguments,
		pulumi,
		resources: async () => {
			const { stdout } = await pulumi(["stack", "export", "--stack", name]);
			return exportSchema.parse(JSON.parse(stdout)).deployment.resources;
		},
		outputs: async () => {
			const { stdout } = await pulumi(["stack", "output", "--stack", name, "--json", "--show-secrets"]);
			const parsed = outputsSchema.safeParse(JSON.parse(stdout));
			if (!parsed.success) {
				throw new Error(
					`Stack ${name} has no complete outputs (${z.prettifyError(parsed.error)}): run scripts/up ${name}.`,
				);
			}
			return parsed.data;
		},
	};
}

/** The environment of the local stack: no SCW_* variable survives, since the environment wins over the provider's arguments. */
export function localStackEnvironment(base: NodeJS.ProcessEnv): { env: Stack["env"]; dir: string } {
	const dir = join(localSettings(base).stateDir, "pulumi");
	const kept = Object.entries(base).filter(([key]) => !key.startsWith("SCW_"));
	return {
		dir,
		env: {
			...Object.fromEntries(kept),
			SCW_CONFIG_PATH: join(dir, "no-scaleway-profile.yaml"),
			PULUMI_BACKEND_URL: `file://${join(dir, "backend")}`,
			PULUMI_CONFIG_PASSPHRASE_FILE: join(dir, "passphrase"),
			PULUMI_CONFIG_PASSPHRASE: undefined,
		},
	};
}

const stackFileSchema = z.looseObject({
	encryptionsalt: z.string().optional(),
	config: z.record(z.string(), z.unknown()).default({}),
});
type StackFile = z.infer<typeof stackFileSchema>;

function readStackFile(file: string): StackFile {
	return stackFileSchema.parse(existsSync(file) ? (parse(readFileSync(file, "utf8")) ?? {}) : {});
}

/**
 * Pulumi asks for a passphrase at the terminal, which it does not have where its output is read.
 *
 * @throws Error if the stack's secrets need a passphrase that is not in the environment
 */
function requirePassphrase(name: string, configFile: string, env: Stack["env"]): void {
	if (env.PULUMI_CONFIG_PASSPHRASE !== undefined || env.PULUMI_CONFIG_PASSPHRASE_FILE) return;
	if (readStackFile(configFile).encryptionsalt === undefined) return;
	throw new Error(
		`Stack ${name}: its secrets are encrypted with a passphrase, and the environment has none; set PULUMI_CONFIG_PASSPHRASE_FILE to a file that holds it, or PULUMI_CONFIG_PASSPHRASE.`,
	);
}

const remoteBuildersSchema = z.record(z.string(), z.looseObject({ hostKey: z.string().optional() })).default({});

/** The tracked settings, with what only the copy has: the secrets, the salt, the host keys of machines made at `up`. */
export function mergeStackFile(tracked: StackFile, copy: StackFile, apiUrl: string): StackFile {
	const secrets = Object.entries(copy.config).filter(
		([, value]) => typeof value === "object" && value !== null && "secure" in value,
	);
	return {
		...(copy.encryptionsalt === undefined ? {} : { encryptionsalt: copy.encryptionsalt }),
		config: {
			...tracked.config,
			...withHostKeys(tracked.config, copy.config),
			"scaleway:apiUrl": apiUrl,
			...Object.fromEntries(secrets),
		},
	};
}

/** The tracked remote builders; those without a host key get the copy's. */
function withHostKeys(tracked: StackFile["config"], copy: StackFile["config"]): StackFile["config"] {
	const key = "flathub:remoteBuilders";
	if (!(key in tracked)) return {};
	const known = remoteBuildersSchema.parse(copy[key]);
	const builders = Object.entries(remoteBuildersSchema.parse(tracked[key])).map(([name, builder]) => {
		const hostKey = builder.hostKey ?? known[name]?.hostKey;
		return [name, { ...builder, ...(hostKey === undefined ? {} : { hostKey }) }];
	});
	return { [key]: Object.fromEntries(builders) };
}

/** Makes the stack and the copy of its configuration if they are not there; brings the copy up to date with Pulumi.local.yaml. */
async function prepareLocalStack(env: Stack["env"], dir: string): Promise<string> {
	mkdirSync(join(dir, "backend"), { recursive: true, mode: 0o700 });
	const passphraseFile = join(dir, "passphrase");
	if (!existsSync(passphraseFile)) {
		writeWhole(passphraseFile, randomBytes(24).toString("base64url"));
	}
	writeWhole(join(dir, "Pulumi.yaml"), readFileSync(join(projectDir, "Pulumi.yaml"), "utf8"));
	const configFile = join(dir, "Pulumi.local.yaml");
	if (readStackFile(configFile).encryptionsalt === undefined) {
		// In a folder of its own: `stack init` writes the salt into the stack's file, and the tracked one stays as it is.
		rmSync(join(dir, "backend"), { recursive: true });
		mkdirSync(join(dir, "backend"), { mode: 0o700 });
		await run(["pulumi", "-C", dir, "stack", "init", "local", "--no-select"], { env });
	}
	const tracked = readStackFile(join(projectDir, "Pulumi.local.yaml"));
	const merged = mergeStackFile(tracked, readStackFile(configFile), localSettings().apiUrl);
	writeWhole(configFile, stringify(merged));
	return configFile;
}
