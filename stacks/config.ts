import { RunError } from "@pulumi/pulumi/errors.js";
import { z } from "zod";
import { findMachineType, unknownMachineType } from "./catalogue.ts";
import { formatIpv4, isPrivate, isUsable, parseIpv4, parseIpv4Network } from "./ipv4.ts";

/** The namespace of the stack's configuration keys. */
const namespace = "flathub";

const secretFields = ["githubToken", "signingKey"];

/** zod's issue codes name neither the value nor what the field is for; each schema here says what it expects. */
function expects(expectation: string): { error: string } {
	return { error: expectation };
}

function text(pattern: RegExp, expectation: string) {
	return z.string(expects(expectation)).regex(pattern, expects(expectation));
}

function wholeNumber(min: number, max: number, unit: string) {
	const expectation = `a whole number from ${min} to ${max}${unit}`;
	return z
		.number(expects(expectation))
		.int(expects(expectation))
		.min(min, expects(expectation))
		.max(max, expects(expectation));
}

const hostName = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;
const machineName = text(
	/^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/,
	"a name of small letters, digits and hyphens that starts with a letter, at most 40 characters",
);

const roles = ["master", "builder", "repo", "front"] as const;
const architectures = ["x86_64", "i386", "aarch64", "arm"] as const;

const architecture = z.enum(architectures, expects(`one of ${architectures.join(", ")}`));
const architectureList = z
	.array(architecture, expects(`a list of ${architectures.join(", ")}`))
	.min(1, expects("at least one architecture"))
	.refine((list) => new Set(list).size === list.length, expects("each architecture once"));

function url(expectation: string) {
	return z.string(expects(expectation)).refine((value) => {
		const parsed = URL.canParse(value) ? new URL(value) : undefined;
		return (
			parsed !== undefined &&
			/^https?:$/.test(parsed.protocol) &&
			parsed.username === "" &&
			parsed.hash === "" &&
			!/[\s"'$`\\]/.test(value)
		);
	}, expects(expectation));
}

const baseUrl = url("an http or https URL without a slash at its end").refine(
	(value) => !value.endsWith("/"),
	expects("an http or https URL without a slash at its end"),
);

/** An OpenSSH public key whose blob names the same algorithm as the text before it. */
const publicKey = z.string(expects("an OpenSSH public key")).refine((value) => {
	const match = /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})( [^\r\n]*)?$/.exec(
		value,
	);
	if (!match?.[1] || !match[2]) return false;
	const blob = Buffer.from(match[2], "base64");
	const length = blob.length > 4 ? blob.readUInt32BE(0) : 0;
	return blob.length > 4 + length && blob.subarray(4, 4 + length).toString() === match[1];
}, expects('an OpenSSH public key such as "ssh-ed25519 AAAA… name"'));

/** How many builds a builder runs at once. The master's and the builders' inventories have the same limits. */
const maxBuilds = wholeNumber(1, 16, " builds at once");

const machine = z.strictObject(
	{
		role: z.enum(roles, expects(`one of ${roles.join(", ")}`)),
		type: z.string(expects("the name of a machine type")).superRefine((value, context) => {
			if (!findMachineType(value)) context.addIssue({ code: "custom", message: unknownMachineType(value) });
		}),
		address: z.string(expects("an IPv4 address")),
		architectures: architectureList.optional(),
		maxBuilds: maxBuilds.optional(),
		rootGb: wholeNumber(5, 10_000, " GB"),
		volumeGb: wholeNumber(5, 10_000, " GB").optional(),
	},
	expects("a machine: role, type, address, rootGb, and volumeGb or architectures by its role"),
);

const remoteBuilder = z.strictObject(
	{
		host: text(hostName, "a host name"),
		port: wholeNumber(1, 65_535, ""),
		user: text(/^[a-z_][a-z0-9_-]{0,31}$/, "a user name"),
		hostKey: publicKey,
		architectures: architectureList,
		maxBuilds: maxBuilds.optional(),
	},
	expects("a remote builder: host, port, user, hostKey, architectures"),
);

const schema = z.strictObject({
	/** Where the public finds Flathub; the repository is at dl.DOMAIN. */
	domain: text(hostName, "a host name such as flathub.org"),
	/** Of the public URL. Default https; http is for stacks without certificates. */
	scheme: z.enum(["http", "https"], expects("http or https")).default("https"),
	/** Scaleway's zone. Another one replaces everything. */
	zone: text(/^[a-z]{2}-[a-z]{3,7}-[0-9]{1,2}$/, "a zone such as fr-par-1"),
	/** Label of Scaleway's image. Another one replaces builders and front. */
	image: text(/^[a-z0-9]+(_[a-z0-9]+)*$/, "an image label such as debian_trixie"),
	/** The private network's subnet. */
	privateNetwork: z.string(expects("a subnet such as 10.17.0.0/24")).superRefine((value, context) => {
		const network = parseIpv4Network(value);
		if (!network || !isPrivate(network) || network.prefix < 20 || network.prefix > 28) {
			const message = "the first address of a private IPv4 subnet and its prefix, /20 to /28, such as 10.17.0.0/24";
			context.addIssue({ code: "custom", message });
		}
	}),
	/** Whether data volumes and front's public address refuse to be deleted. Default false. */
	protect: z.boolean(expects("true or false")).default(false),
	/** What an app is built for. */
	architectures: architectureList,
	machines: z.record(machineName, machine, expects("machines by name")),
	/** Builders elsewhere that are managed over SSH. Default none. */
	remoteBuilders: z.record(machineName, remoteBuilder, expects("remote builders by name")).default({}),
	/** Public keys by operator. Default none. */
	operators: z
		.record(
			text(/^[a-z][a-z0-9.-]{0,31}$/, "an operator's name in small letters"),
			publicKey,
			expects("public keys by operator"),
		)
		.default({}),
	github: z.strictObject(
		{
			organization: text(/^[A-Za-z0-9]([A-Za-z0-9-]{0,37}[A-Za-z0-9])?$/, "the name of an organisation on GitHub"),
			url: baseUrl,
			apiUrl: baseUrl,
		},
		expects("organization, url and apiUrl"),
	),
	/** Where builders find SDKs and runtimes: URLs of .flatpakrepo files by remote name. */
	runtimeRemotes: z
		.record(
			text(/^[a-z][a-z0-9-]{0,38}$/, "the name of a Flatpak remote in small letters"),
			url("the http or https URL of a .flatpakrepo file").refine(
				(value) => value.endsWith(".flatpakrepo"),
				expects("the http or https URL of a .flatpakrepo file"),
			),
			expects("URLs of .flatpakrepo files by remote name"),
		)
		.refine((remotes) => Object.keys(remotes).length > 0, expects("at least one remote")),
	/** May write commit statuses. */
	githubToken: text(/^[!-~]+$/, "a token (pulumi config set --secret flathub:githubToken)"),
	/** The signing key, armored and protected by its passphrase. */
	signingKey: text(
		/^-----BEGIN PGP PRIVATE KEY BLOCK-----[\s\S]*-----END PGP PRIVATE KEY BLOCK-----\s*$/,
		"an armored OpenPGP secret key (pulumi config set --secret flathub:signingKey < machine.asc)",
	),
});

export type Config = z.infer<typeof schema>;
export type Role = (typeof roles)[number];
export type Architecture = z.infer<typeof architecture>;
export type MachineConfig = Config["machines"][string];

/** A machine of the inventory with its name. */
export type Machine = MachineConfig & { name: string };

/** A builder of the inventory that Pulumi did not make, with its name. */
export type RemoteBuilderConfig = Config["remoteBuilders"][string] & { name: string; maxBuilds: number };

/** What is wrong with a configuration: one line a value. A RunError, so that Pulumi prints no stack trace with it. */
export class ConfigError extends RunError {
	readonly problems: readonly string[];

	constructor(problems: readonly string[]) {
		super(`The stack's configuration is not valid:\n${problems.map((problem) => `  - ${problem}`).join("\n")}`);
		this.name = "ConfigError";
		this.problems = problems;
	}
}

/**
 * The stack's own keys out of all configuration, as values: Pulumi hands everything over as text, structures as JSON.
 *
 * @throws ConfigError if a structure is not JSON.
 */
export function readConfig(all: Readonly<Record<string, string>>): Record<string, unknown> {
	const raw: Record<string, unknown> = {};
	for (const [key, value] of Object.entries(all)) {
		if (!key.startsWith(`${namespace}:`)) continue;
		const field = key.slice(namespace.length + 1);
		raw[field] = !secretFields.includes(field) && /^\s*([{[]|true$|false$)/.test(value) ? decode(field, value) : value;
	}
	return raw;
}

function decode(field: string, value: string): unknown {
	try {
		return JSON.parse(value);
	} catch {
		throw new ConfigError([`${namespace}:${field} is ${shown(value)}, expected a value that can be read as JSON`]);
	}
}

/**
 * Checks a stack's configuration, each value and what they say together.
 *
 * @throws ConfigError naming every bad field, its value and what was expected; secret values are not shown.
 */
export function parseConfig(raw: unknown): Config {
	const result = schema.safeParse(raw);
	if (!result.success) throw new ConfigError(result.error.issues.flatMap((issue) => describe(issue, raw)));
	const problems = contradictions(result.data);
	if (problems.length > 0) throw new ConfigError(problems);
	return result.data;
}

/** The inventory's machines in the order of their names. */
export function machinesOf(config: Config): Machine[] {
	return Object.entries(config.machines)
		.map(([name, machine]) => ({ name, ...machine }))
		.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The one machine of a role that there is one of. */
export function theMachine(config: Config, role: Exclude<Role, "builder">): Machine {
	const machine = machinesOf(config).find((candidate) => candidate.role === role);
	if (!machine) throw new Error(`no machine has the role ${role}`);
	return machine;
}

/** The inventory's builders in the order of their names. */
export function buildersOf(config: Config): (Machine & { architectures: Architecture[]; maxBuilds: number })[] {
	return machinesOf(config)
		.filter((machine) => machine.role === "builder")
		.map((machine) => ({
			...machine,
			architectures: machine.architectures ?? [],
			maxBuilds: machine.maxBuilds ?? 1,
		}));
}

/** The inventory's remote builders in the order of their names, their host keys without comments. */
export function remoteBuildersOf(config: Config): RemoteBuilderConfig[] {
	return Object.entries(config.remoteBuilders)
		.map(([name, remote]) => ({
			...remote,
			name,
			hostKey: remote.hostKey.split(" ").slice(0, 2).join(" "),
			maxBuilds: remote.maxBuilds ?? 1,
		}))
		.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The public URL without a slash at its end. */
export function publicUrlOf(config: Config): string {
	return `${config.scheme}://${config.domain}`;
}

function describe(issue: z.core.$ZodIssue, raw: unknown): string[] {
	if (issue.code === "unrecognized_keys") {
		return issue.keys.map((key) => `${fieldName([...issue.path, key])} is not a known key, is it a typo?`);
	}
	// A key of a record that is no valid name: the expectation is one level down.
	const message = issue.code === "invalid_key" ? (issue.issues[0]?.message ?? issue.message) : issue.message;
	if (issue.code === "invalid_key") return [`${fieldName(issue.path)} is no valid name, expected ${message}`];
	const value = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], raw);
	if (value === undefined) return [`${fieldName(issue.path)} is missing, expected ${message}`];
	const secret = secretFields.includes(String(issue.path[0]));
	return [`${fieldName(issue.path)} is ${secret ? "[secret]" : shown(value)}, expected ${message}`];
}

function fieldName(path: readonly PropertyKey[]): string {
	return `${namespace}:${path.map(String).join(".")}`;
}

function shown(value: unknown): string {
	const json = JSON.stringify(value) ?? String(value);
	return json.length > 120 ? `${json.slice(0, 120)}…` : json;
}

function contradictions(config: Config): string[] {
	const machines = machinesOf(config);
	return [
		...roleProblems(machines),
		...machines.flatMap((machine) => addressProblems(machine, machines, config)),
		...machines.flatMap(diskProblems),
		...machines.flatMap(builderProblems),
		...architectureProblems(config),
		...Object.keys(config.remoteBuilders)
			.filter((name) => name in config.machines)
			.map((name) => `flathub:remoteBuilders.${name} has a machine's name, expected a name of its own`),
		...sharedMachineProblems(remoteBuildersOf(config)),
	];
}

/** Two names for one machine would each deliver to it. A host key tells machines apart, whatever they are called. */
function sharedMachineProblems(remotes: readonly RemoteBuilderConfig[]): string[] {
	return remotes.flatMap((remote) => {
		const other = remotes.find((candidate) => candidate.name < remote.name && candidate.hostKey === remote.hostKey);
		const field = `flathub:remoteBuilders.${remote.name}.hostKey`;
		return other ? [`${field} is ${shown(remote.hostKey)}, expected another one: ${other.name} has it`] : [];
	});
}

function roleProblems(machines: readonly Machine[]): string[] {
	const problems = (["master", "repo", "front"] as const).flatMap((role) => {
		const names = machines.filter((machine) => machine.role === role).map((machine) => machine.name);
		if (names.length === 1) return [];
		return [
			`flathub:machines has ${names.length} with the role ${role} (${names.join(", ") || "none"}), expected exactly one`,
		];
	});
	if (!machines.some((machine) => machine.role === "builder")) {
		problems.push("flathub:machines has no builder, expected at least one");
	}
	return problems;
}

function addressProblems(machine: Machine, machines: readonly Machine[], config: Config): string[] {
	const field = `flathub:machines.${machine.name}.address`;
	const network = parseIpv4Network(config.privateNetwork);
	const address = parseIpv4(machine.address);
	if (!network) return [];
	if (address === undefined || !isUsable(address, network)) {
		const range = `${formatIpv4(network.first + 2)} to ${formatIpv4(network.last - 2)}`;
		return [`${field} is ${shown(machine.address)}, expected an address of ${config.privateNetwork} from ${range}`];
	}
	const other = machines.find((candidate) => candidate.address === machine.address && candidate.name < machine.name);
	return other ? [`${field} is ${shown(machine.address)}, expected another one: ${other.name} has it`] : [];
}

function diskProblems(machine: Machine): string[] {
	const field = `flathub:machines.${machine.name}.volumeGb`;
	if (machine.role === "builder") {
		return machine.volumeGb === undefined
			? []
			: [`${field} is ${machine.volumeGb}, expected none: a builder keeps nothing`];
	}
	return machine.volumeGb === undefined ? [`${field} is missing, expected the size of the data volume in GB`] : [];
}

function builderProblems(machine: Machine): string[] {
	const field = `flathub:machines.${machine.name}`;
	if (machine.role === "builder") {
		return machine.architectures ? [] : [`${field}.architectures is missing, expected what the builder builds for`];
	}
	return (["architectures", "maxBuilds"] as const)
		.filter((key) => machine[key] !== undefined)
		.map((key) => `${field}.${key} is ${shown(machine[key])}, expected none: only builders have it`);
}

function architectureProblems(config: Config): string[] {
	const builders = [
		...buildersOf(config).map((builder) => ({ ...builder, field: `flathub:machines.${builder.name}` })),
		...remoteBuildersOf(config).map((remote) => ({ ...remote, field: `flathub:remoteBuilders.${remote.name}` })),
	];
	const missing = config.architectures
		.filter((wanted) => !builders.some((builder) => builder.architectures.includes(wanted)))
		.map((wanted) => `flathub:architectures has ${shown(wanted)}, expected a builder or remote builder for it`);
	const unused = builders.flatMap((builder) =>
		builder.architectures
			.filter((offered) => !config.architectures.includes(offered))
			.map(
				(offered) =>
					`${builder.field}.architectures has ${shown(offered)}, expected only what flathub:architectures lists`,
			),
	);
	return [...missing, ...unused];
}
