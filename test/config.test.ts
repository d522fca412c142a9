import { describe, expect, test } from "vitest";
import { buildersOf, ConfigError, parseConfig, readConfig, remoteBuildersOf } from "../stacks/config.ts";
import { signingKey, stackConfig, stackKeys, stackValues } from "./stack-file.ts";

type Values = Record<string, unknown>;

/** The values of prod with the one at a path set; undefined removes it. */
function changed(path: readonly string[], value: unknown): Values {
	const values = structuredClone(stackValues("prod"));
	let at = values;
	for (const key of path.slice(0, -1)) at = at[key] as Values;
	const last = path.at(-1) ?? "";
	if (value === undefined) delete at[last];
	else at[last] = value;
	return values;
}

function problemsOf(values: unknown): readonly string[] {
	try {
		parseConfig(values);
	} catch (error) {
		if (error instanceof ConfigError) return error.problems;
		throw error;
	}
	return [];
}

describe("the stack files", () => {
	test.each(["prod", "local"])("%s is valid", (stack) => {
		expect(problemsOf(stackValues(stack))).toEqual([]);
	});

	test("prod is the whole of Flathub", () => {
		const config = stackConfig("prod");
		expect(Object.keys(config.machines).sort()).toEqual(["builder-1", "builder-2", "front", "master", "repo"]);
		expect(config.machines.repo?.volumeGb).toBe(450);
		expect(config.machines.front?.volumeGb).toBe(200);
		expect(Object.values(config.remoteBuilders).flatMap((remote) => remote.architectures)).toEqual(["aarch64", "arm"]);
		expect(config.protect).toBe(true);
	});

	test("local has prod's remote builders, but for where they are", () => {
		const same = (stack: string) =>
			remoteBuildersOf(stackConfig(stack)).map(({ name, port, user, architectures }) => [
				name,
				{ port, user, architectures },
			]);
		expect(same("local")).toEqual(same("prod"));
		expect(stackConfig("local").architectures).toEqual(stackConfig("prod").architectures);
	});

	test("local has prod's machines, roles, types and addresses", () => {
		const same = (stack: string) =>
			Object.entries(stackConfig(stack).machines).map(([name, { role, type, address, architectures }]) => [
				name,
				{ role, type, address, architectures },
			]);
		expect(same("local")).toEqual(same("prod"));
	});
});

describe("defaults", () => {
	test.each([
		["scheme", "https"],
		["protect", false],
		["operators", {}],
	])("%s", (field, value) => {
		expect(parseConfig(changed([field], undefined))).toHaveProperty(field, value);
	});

	test("one build at once", () => {
		expect(buildersOf(parseConfig(changed(["machines", "builder-1", "maxBuilds"], undefined)))[0]?.maxBuilds).toBe(1);
		expect(remoteBuildersOf(stackConfig("prod")).map(({ maxBuilds }) => maxBuilds)).toEqual([1, 1]);
		const three = parseConfig(changed(["remoteBuilders", "codethink-2", "maxBuilds"], 3));
		expect(remoteBuildersOf(three).map(({ name, maxBuilds }) => [name, maxBuilds])).toEqual([
			["codethink-1", 1],
			["codethink-2", 3],
		]);
	});

	test("no remote builders", () => {
		const values = { ...changed(["remoteBuilders"], undefined), architectures: ["x86_64", "i386"] };
		expect(parseConfig(values).remoteBuilders).toEqual({});
	});
});

describe("reading what Pulumi hands over", () => {
	test("only this project's keys, structures decoded, secrets as they are", () => {
		const values = readConfig({ ...stackKeys("prod"), "flathub:githubToken": "true", "local:other": "x" });
		expect(values).not.toHaveProperty("other");
		expect(values).not.toHaveProperty("region");
		expect(values).toMatchObject({ protect: true, domain: "flathub.org", githubToken: "true" });
		expect(values.machines).toHaveProperty("master.role", "master");
	});

	test("a structure that is no JSON", () => {
		expect(() => readConfig({ "flathub:machines": "{front" })).toThrow(
			'flathub:machines is "{front", expected a value that can be read as JSON',
		);
	});
});

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1zEB2OCprPZIrgdJVuGL8dfuv6PVlYw4VG2LyvMwIO";

describe("a bad value is named with its field and what was expected", () => {
	test.each<[path: string[], value: unknown, problem: string]>([
		[["domain"], "flat hub", 'flathub:domain is "flat hub", expected a host name such as flathub.org'],
		[["domain"], undefined, "flathub:domain is missing, expected a host name such as flathub.org"],
		[["domain"], true, "flathub:domain is true, expected a host name such as flathub.org"],
		[["scheme"], "ftp", 'flathub:scheme is "ftp", expected http or https'],
		[["zone"], "paris", 'flathub:zone is "paris", expected a zone such as fr-par-1'],
		[["image"], "Debian 13", 'flathub:image is "Debian 13", expected an image label such as debian_trixie'],
		[
			["privateNetwork"],
			"10.17.0.1/24",
			'flathub:privateNetwork is "10.17.0.1/24", expected the first address of a private IPv4 subnet and its prefix, /20 to /28, such as 10.17.0.0/24',
		],
		[
			["privateNetwork"],
			"198.51.100.0/24",
			'flathub:privateNetwork is "198.51.100.0/24", expected the first address of a private IPv4 subnet and its prefix, /20 to /28, such as 10.17.0.0/24',
		],
		[["protect"], "yes", 'flathub:protect is "yes", expected true or false'],
		[["architectures"], ["x86"], 'flathub:architectures.0 is "x86", expected one of x86_64, i386, aarch64, arm'],
		[["architectures"], [], "flathub:architectures is [], expected at least one architecture"],
		[["machine"], {}, "flathub:machine is not a known key, is it a typo?"],
		[
			["machines", "front", "role"],
			"proxy",
			'flathub:machines.front.role is "proxy", expected one of master, builder, repo, front',
		],
		[
			["machines", "front", "type"],
			"DEV-1L",
			'flathub:machines.front.type is "DEV-1L", expected a machine type of Scaleway; near it: DEV1-L, DEV1-XL, DEV1-M',
		],
		[
			["machines", "front", "rootGb"],
			2,
			"flathub:machines.front.rootGb is 2, expected a whole number from 5 to 10000 GB",
		],
		[
			["machines", "front", "rootGb"],
			"20",
			'flathub:machines.front.rootGb is "20", expected a whole number from 5 to 10000 GB',
		],
		[
			["machines", "front", "volumeGb"],
			5.5,
			"flathub:machines.front.volumeGb is 5.5, expected a whole number from 5 to 10000 GB",
		],
		[["machines", "front", "volumeGB"], 5, "flathub:machines.front.volumeGB is not a known key, is it a typo?"],
		[
			["machines", "builder-1", "maxBuilds"],
			0,
			"flathub:machines.builder-1.maxBuilds is 0, expected a whole number from 1 to 16 builds at once",
		],
		[
			["machines", "Builder"],
			{},
			"flathub:machines.Builder is no valid name, expected a name of small letters, digits and hyphens that starts with a letter, at most 40 characters",
		],
		[
			["remoteBuilders", "codethink-1", "host"],
			"a b",
			'flathub:remoteBuilders.codethink-1.host is "a b", expected a host name',
		],
		[
			["remoteBuilders", "codethink-1", "port"],
			70_000,
			"flathub:remoteBuilders.codethink-1.port is 70000, expected a whole number from 1 to 65535",
		],
		[
			["remoteBuilders", "codethink-1", "user"],
			"Root",
			'flathub:remoteBuilders.codethink-1.user is "Root", expected a user name',
		],
		[
			["remoteBuilders", "codethink-1", "hostKey"],
			"ssh-ed25519 AAAA",
			'flathub:remoteBuilders.codethink-1.hostKey is "ssh-ed25519 AAAA", expected an OpenSSH public key such as "ssh-ed25519 AAAA… name"',
		],
		[
			["remoteBuilders", "codethink-1", "hostKey"],
			undefined,
			"flathub:remoteBuilders.codethink-1.hostKey is missing, expected an OpenSSH public key",
		],
		[
			["remoteBuilders", "codethink-1", "maxBuilds"],
			17,
			"flathub:remoteBuilders.codethink-1.maxBuilds is 17, expected a whole number from 1 to 16 builds at once",
		],
		[
			["remoteBuilders", "codethink-1", "jumpHost"],
			"front",
			"flathub:remoteBuilders.codethink-1.jumpHost is not a known key, is it a typo?",
		],
		[
			["operators", "alex"],
			key.replace("ssh-ed25519 ", "ssh-rsa "),
			`flathub:operators.alex is "${key.replace("ssh-ed25519 ", "ssh-rsa ")}", expected an OpenSSH public key such as "ssh-ed25519 AAAA… name"`,
		],
		[
			["operators", "Alex"],
			key,
			"flathub:operators.Alex is no valid name, expected an operator's name in small letters",
		],
		[
			["github", "organization"],
			"flat/hub",
			'flathub:github.organization is "flat/hub", expected the name of an organisation on GitHub',
		],
		[
			["github", "url"],
			"https://github.com/",
			'flathub:github.url is "https://github.com/", expected an http or https URL without a slash at its end',
		],
		[
			["github", "apiUrl"],
			undefined,
			"flathub:github.apiUrl is missing, expected an http or https URL without a slash at its end",
		],
		[["runtimeRemotes"], {}, "flathub:runtimeRemotes is {}, expected at least one remote"],
		[
			["runtimeRemotes", "gnome"],
			"https://sdk.gnome.org/",
			'flathub:runtimeRemotes.gnome is "https://sdk.gnome.org/", expected the http or https URL of a .flatpakrepo file',
		],
		[
			["githubToken"],
			"two words",
			"flathub:githubToken is [secret], expected a token (pulumi config set --secret flathub:githubToken)",
		],
		[
			["signingKey"],
			signingKey.slice(1),
			"flathub:signingKey is [secret], expected an armored OpenPGP secret key (pulumi config set --secret flathub:signingKey < machine.asc)",
		],
		[
			["signingKey"],
			undefined,
			"flathub:signingKey is missing, expected an armored OpenPGP secret key (pulumi config set --secret flathub:signingKey < machine.asc)",
		],
	])("%j = %j", (path, value, problem) => {
		expect(problemsOf(changed(path, value))).toContain(problem);
	});

	test("all of them at once", () => {
		const values = { ...stackValues("prod"), zone: "x", scheme: "y" };
		expect(problemsOf(values)).toHaveLength(2);
		expect(() => parseConfig(values)).toThrow(/^The stack's configuration is not valid:\n {2}- .*\n {2}- .*$/);
	});
});

describe("values that contradict each other", () => {
	test.each<[path: string[], value: unknown, problem: string]>([
		[
			["machines", "master", "role"],
			"repo",
			"flathub:machines has 0 with the role master (none), expected exactly one",
		],
		[
			["machines", "master", "role"],
			"repo",
			"flathub:machines has 2 with the role repo (master, repo), expected exactly one",
		],
		[
			["machines", "master", "address"],
			"10.17.1.10",
			'flathub:machines.master.address is "10.17.1.10", expected an address of 10.17.0.0/24 from 10.17.0.2 to 10.17.0.253',
		],
		[
			["machines", "master", "address"],
			"10.17.0.254",
			'flathub:machines.master.address is "10.17.0.254", expected an address of 10.17.0.0/24 from 10.17.0.2 to 10.17.0.253',
		],
		[
			["machines", "master", "address"],
			"10.17.0.1",
			'flathub:machines.master.address is "10.17.0.1", expected an address of 10.17.0.0/24 from 10.17.0.2 to 10.17.0.253',
		],
		[
			["machines", "master", "address"],
			"10.17.0.2",
			'flathub:machines.master.address is "10.17.0.2", expected another one: front has it',
		],
		[
			["machines", "repo", "volumeGb"],
			undefined,
			"flathub:machines.repo.volumeGb is missing, expected the size of the data volume in GB",
		],
		[
			["machines", "builder-1", "volumeGb"],
			5,
			"flathub:machines.builder-1.volumeGb is 5, expected none: a builder keeps nothing",
		],
		[
			["machines", "builder-1", "architectures"],
			undefined,
			"flathub:machines.builder-1.architectures is missing, expected what the builder builds for",
		],
		[
			["machines", "builder-1", "architectures"],
			["x86_64"],
			'flathub:architectures has "i386", expected a builder or remote builder for it',
		],
		[
			["architectures"],
			["x86_64", "i386", "aarch64"],
			'flathub:remoteBuilders.codethink-2.architectures has "arm", expected only what flathub:architectures lists',
		],
		[
			["remoteBuilders", "codethink-2", "hostKey"],
			`${key} another comment`,
			`flathub:remoteBuilders.codethink-2.hostKey is "${key}", expected another one: codethink-1 has it`,
		],
		[
			["machines", "repo", "maxBuilds"],
			2,
			"flathub:machines.repo.maxBuilds is 2, expected none: only builders have it",
		],
	])("%j = %j", (path, value, problem) => {
		expect(problemsOf(changed(path, value))).toContain(problem);
	});

	test("no builder at all", () => {
		const values = stackValues("prod");
		const machines = Object.entries(values.machines as Values).filter(([name]) => !name.startsWith("builder"));
		expect(problemsOf({ ...values, machines: Object.fromEntries(machines) })).toContain(
			"flathub:machines has no builder, expected at least one",
		);
	});

	test("a remote builder with a machine's name", () => {
		const remote = (stackValues("prod").remoteBuilders as Values)["codethink-1"];
		expect(problemsOf(changed(["remoteBuilders", "repo"], remote))).toContain(
			"flathub:remoteBuilders.repo has a machine's name, expected a name of its own",
		);
	});
});
