import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { ensureEngine } from "../engine/ensure.ts";
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
	const engine = await ensureEngine({ report: progress });
	if (name !== "local" && !engine.official) {
		throw new Error(
			`Stack ${name}: the engine on this machine was built from Go modules with stand-ins for the command, random and tls plugins; they are for the local stack only. Install the official Pulumi CLI and try again.`,
		);
	}
	if (name !== "local") {
		const configFile = join(projectDir, `Pulumi.${name}.yaml`);
		return makeStack(name, { ...process.env, ...engine.env }, configFile, ["--stack", name]);
	}
	const local = localStackEnvironment({ ...process.env, ...engine.env });
	const configFile = await prepareLocalStack(local.env, local.dir);
	return makeStack(name, local.env, configFile, ["--stack", name, "--config-file", configFile]);
}

function makeStack(name: string, env: Stack["env"], configFile: string, configArguments: string[]): Stack {
	const pulumi: Stack["pulumi"] = (args, options = {}) =>
		run(["pulumi", ...args], { timeoutSeconds: Infinity, ...options, cwd: projectDir, env });
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
	const read = (file: string): StackFile =>
		stackFileSchema.parse(existsSync(file) ? (parse(readFileSync(file, "utf8")) ?? {}) : {});
	if (read(configFile).encryptionsalt === undefined) {
		// In a folder of its own: `stack init` writes the salt into the stack's file, and the tracked one stays as it is.
		rmSync(join(dir, "backend"), { recursive: true });
		mkdirSync(join(dir, "backend"), { mode: 0o700 });
		await run(["pulumi", "-C", dir, "stack", "init", "local", "--no-select"], { env });
	}
	const merged = mergeStackFile(read(join(projectDir, "Pulumi.local.yaml")), read(configFile), localSettings().apiUrl);
	writeWhole(configFile, stringify(merged));
	return configFile;
}
