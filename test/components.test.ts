import { execFileSync } from "node:child_process";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { builder } from "../cloud-init/builder.ts";
import { type Config, parseConfig } from "../stacks/config.ts";
import type { FlathubOutputs } from "../stacks/flathub.ts";
import { type Asked, certificatePem, deployMocked, idOf, settled } from "./mocked.ts";
import { stackConfig, stackValues } from "./stack-file.ts";

type Values = Record<string, unknown>;

const prod = stackConfig("prod");
let asked: Map<string, Asked>;
let outputs: FlathubOutputs;

beforeAll(async () => {
	({ asked, outputs } = await deployMocked(prod, "prod"));
});

function the(name: string): Asked {
	const resource = asked.get(name);
	if (!resource) throw new Error(`nothing is called ${name}; there are ${[...asked.keys()].join(", ")}`);
	return resource;
}

function optionNames(value: unknown): string[] {
	const list = Array.isArray(value) ? (value as pulumi.Resource[]) : [];
	return list.map((resource) => (resource as unknown as { __name: string }).__name);
}

function parentOf(name: string): string {
	return (the(name).options.parent as unknown as { __name: string }).__name;
}

function unwrapped<T>(value: unknown): T {
	return (value as { secret: T }).secret;
}

/** Connection of a command or copy. */
function connectionOf(name: string): Values {
	return unwrapped<Values>(the(name).inputs.connection);
}

function ofType(type: string): Asked[] {
	return [...asked.values()].filter((resource) => resource.type === type);
}

const names = Object.keys(prod.machines);

describe("components", () => {
	test.each([
		["flathub", "flathub:index:PrivateNetwork"],
		["front", "flathub:index:Front"],
		["master", "flathub:index:Master"],
		["repo", "flathub:index:Repo"],
		["builder-1", "flathub:index:Builder"],
		["builder-2", "flathub:index:Builder"],
		["codethink-1", "flathub:index:RemoteBuilder"],
		["codethink-2", "flathub:index:RemoteBuilder"],
		["worker-authority", "flathub:index:WorkerAuthority"],
	])("%s is a %s", (name, type) => {
		expect(the(name).type).toBe(type);
	});

	test.each(names)("what %s is made of is its child and bears its name", (name) => {
		for (const suffix of [
			"server",
			"nic",
			"address",
			"host-key",
			"bootstrap-host-key",
			"install-host-key",
			"ready",
			"delivery",
		]) {
			expect(parentOf(`${name}-${suffix}`)).toBe(name);
		}
		for (const suffix of ["copy", "run"]) expect(parentOf(`${name}-delivery-${suffix}`)).toBe(`${name}-delivery`);
	});
});

describe("the network", () => {
	test("one VPC, one private network with the inventory's subnet", () => {
		expect(the("flathub-vpc").inputs).toEqual({
			name: "flathub",
			region: "fr-par",
			tags: ["stack=prod", "name=flathub"],
		});
		expect(the("flathub-private-network").inputs).toEqual({
			name: "flathub",
			region: "fr-par",
			vpcId: idOf("scaleway:network/vpc:Vpc", "flathub-vpc"),
			ipv4Subnet: { subnet: "10.17.0.0/24" },
			tags: ["stack=prod", "name=flathub"],
		});
	});

	test.each(names)("the address of %s is reserved, and its interface takes it", (name) => {
		const networkId = idOf("scaleway:network/privateNetwork:PrivateNetwork", "flathub-private-network");
		expect(the(`${name}-address`).inputs).toEqual({
			address: prod.machines[name]?.address,
			sources: [{ privateNetworkId: networkId }],
			region: "fr-par",
			tags: ["stack=prod", `name=${name}`],
		});
		expect(the(`${name}-nic`).inputs).toEqual({
			serverId: idOf("scaleway:instance/server:Server", `${name}-server`),
			privateNetworkId: networkId,
			ipamIpIds: [idOf("scaleway:ipam/ip:Ip", `${name}-address`)],
			zone: "fr-par-1",
			tags: ["stack=prod", `name=${name}`],
		});
		expect(the(`${name}-nic`).options.deleteBeforeReplace).toBe(true);
	});

	test("only front has a public address and a security group", () => {
		expect(ofType("scaleway:instance/ip:Ip").map(({ name }) => name)).toEqual(["front-public-address"]);
		for (const name of names) {
			const { inputs } = the(`${name}-server`);
			expect(inputs.ipIds).toEqual(
				name === "front" ? [idOf("scaleway:instance/ip:Ip", "front-public-address")] : undefined,
			);
			expect(inputs.securityGroupId === undefined).toBe(name !== "front");
			expect(inputs.enableDynamicIp).toBeUndefined();
		}
		expect(the("front-security-group").inputs).toMatchObject({ inboundDefaultPolicy: "drop", name: "front" });
	});
});

describe("servers and volumes", () => {
	test.each([
		["front", "DEV1-L", 20, 200],
		["master", "DEV1-S", 20, 50],
		["repo", "POP2-HC-4C-8G", 20, 450],
		["builder-1", "DEV1-L", 100, undefined],
		["builder-2", "DEV1-L", 100, undefined],
	])("%s is a %s", (name, type, rootGb, volumeGb) => {
		const { userData, ...inputs } = the(`${name}-server`).inputs;
		expect(Object.keys(unwrapped<Values>(userData))).toEqual(["cloud-init"]);
		expect(inputs).toMatchObject({
			name,
			type,
			image: "debian_trixie",
			zone: "fr-par-1",
			rootVolume: { sizeInGb: rootGb, volumeType: "sbs_volume" },
			tags: ["stack=prod", `name=${name}`],
		});
		expect(inputs).not.toHaveProperty("cloudInit");
		if (volumeGb === undefined) {
			expect(asked.has(`${name}-data`)).toBe(false);
			expect(inputs).not.toHaveProperty("additionalVolumeIds");
		} else {
			expect(inputs.additionalVolumeIds).toEqual([idOf("scaleway:block/volume:Volume", `${name}-data`)]);
			expect(the(`${name}-data`).inputs).toEqual({
				name: `${name}-data`,
				sizeInGb: volumeGb,
				iops: 5000,
				zone: "fr-par-1",
				tags: ["stack=prod", `name=${name}`],
			});
		}
	});

	test("everything that takes tags has them, and everything that takes a name", () => {
		const scaleway = [...asked.values()].filter(({ type }) => type.startsWith("scaleway:"));
		expect(scaleway.length).toBeGreaterThan(20);
		for (const { name, inputs } of scaleway) expect(inputs.tags, name).toContain("stack=prod");
		const unnamed = ["scaleway:instance/ip:Ip", "scaleway:ipam/ip:Ip", "scaleway:instance/privateNic:PrivateNic"];
		for (const { name, type, inputs } of scaleway)
			expect(typeof inputs.name === "string", name).toBe(!unnamed.includes(type));
	});

	test("protected are data volumes and front's public address, and nothing else", () => {
		const isProtected = [...asked.values()].filter(({ options }) => options.protect === true).map(({ name }) => name);
		expect(isProtected.sort()).toEqual(["front-data", "front-public-address", "master-data", "repo-data"]);
	});

	test.each(names)("user-data of %s is a secret in the state, the provider's copy too", (name) => {
		const { options, inputs } = the(`${name}-server`);
		expect(options.additionalSecretOutputs).toEqual(["userData"]);
		expect(inputs.userData).toHaveProperty("secret");
		expect(options.deleteBeforeReplace).toBe(true);
	});
});

describe("connections", () => {
	test.each(names)("each of %s checks the host key of the machine, and of front where it goes through it", (name) => {
		const ends = [`${name}-install-host-key`, `${name}-ready`, `${name}-delivery-copy`, `${name}-delivery-run`];
		for (const end of ends) {
			const { proxy, ...direct } = connectionOf(end);
			const first = end.endsWith("install-host-key");
			expect(direct).toEqual({
				host: name === "front" ? "198.51.100.7" : prod.machines[name]?.address,
				port: first ? 2222 : 22,
				user: "root",
				privateKey: "PRIVATE-HALF-OF-deploy-key\n",
				hostKey: first
					? `ecdsa-sha2-nistp256 PUBLIC-HALF-OF-${name}-bootstrap-host-key`
					: `ssh-ed25519 PUBLIC-HALF-OF-${name}-host-key`,
				dialErrorLimit: -1,
				perDialTimeout: 15,
			});
			const jump = {
				host: "198.51.100.7",
				port: 22,
				user: "root",
				privateKey: "PRIVATE-HALF-OF-deploy-key\n",
				hostKey: "ssh-ed25519 PUBLIC-HALF-OF-front-host-key",
				dialErrorLimit: -1,
				perDialTimeout: 15,
			};
			expect(proxy).toEqual(name === "front" ? undefined : jump);
			const deadline = first ? "10m" : "30m";
			expect(the(end).options.customTimeouts).toEqual({ create: deadline, update: deadline });
			expect(the(end).inputs.triggers).toEqual([idOf("scaleway:instance/server:Server", `${name}-server`)]);
		}
	});

	test.each(names)("first connection, then ready, then the delivery of %s", (name) => {
		const first = name === "front" ? [`${name}-nic`] : [`${name}-nic`, "front-ready"];
		expect(optionNames(the(`${name}-install-host-key`).options.dependsOn)).toEqual(first);
		expect(optionNames(the(`${name}-ready`).options.dependsOn)).toEqual([`${name}-install-host-key`]);
		expect(optionNames(the(`${name}-delivery-copy`).options.dependsOn)).toEqual([`${name}-ready`]);
		expect(optionNames(the(`${name}-delivery-run`).options.dependsOn)).toEqual([`${name}-delivery-copy`]);
	});

	test.each(names)("the first connection of %s is made once a server", (name) => {
		expect(the(`${name}-install-host-key`).options.ignoreChanges).toEqual(["connection", "create", "stdin"]);
	});
});

describe("deliveries", () => {
	const secretsOf = (name: string) =>
		(JSON.parse(unwrapped<string>(the(`${name}-delivery-run`).inputs.stdin)) as { secrets: Values }).secrets;

	test("each machine gets its secrets, and no other's", () => {
		expect(secretsOf("front")).toEqual({
			"worker-proxy-certificate.pem": certificatePem("worker-proxy-certificate"),
			"worker-proxy-key.pem": "PRIVATE-HALF-OF-worker-proxy-key\n",
			"worker-authority.pem": certificatePem("worker-authority-certificate"),
		});
		expect(secretsOf("builder-1")).toEqual({ "worker-password": "PASSWORD-builder-1-worker-password" });
		expect(secretsOf("repo")).toEqual({
			"worker-password": "PASSWORD-repo-worker-password",
			"signing-key.asc": prod.signingKey,
		});
		const { "worker-passwords.json": passwords, ...others } = secretsOf("master");
		expect(others).toEqual({ "change-hook-secret": "PASSWORD-master-change-hook-secret", "github-token": "TOKEN" });
		expect(JSON.parse(passwords as string)).toEqual({
			"builder-1": "PASSWORD-builder-1-worker-password",
			"builder-2": "PASSWORD-builder-2-worker-password",
			"codethink-1": "PASSWORD-codethink-1-worker-password",
			"codethink-2": "PASSWORD-codethink-2-worker-password",
			repo: "PASSWORD-repo-worker-password",
		});
	});

	test.each(names)("the release of %s is copied under its hash and run from there", (name) => {
		const { file } = the(`${name}-delivery-copy`).inputs.source as { file: string };
		const release = new RegExp(`^\\.deliveries/${name}-([0-9a-f]{16})\\.tar$`).exec(file)?.[1];
		expect(release).toBeDefined();
		expect(the(`${name}-delivery-copy`).inputs.remotePath).toBe(`/var/lib/flathub/incoming/${release}.tar`);
		expect(the(`${name}-delivery-run`).inputs.create).toContain(`target=/opt/flathub/releases/${release}\n`);
	});

	test("no secret is in an input that is not one", () => {
		const clear = (value: unknown): unknown => {
			if (Array.isArray(value)) return value.map(clear);
			if (typeof value !== "object" || value === null) return value;
			if ("secret" in value) return null;
			return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, clear(inner)]));
		};
		for (const { name, inputs } of asked.values()) {
			const text = JSON.stringify(clear(inputs));
			for (const mark of ["PRIVATE-HALF", "PASSWORD-", "TOKEN", "SIGNING"]) expect(text, name).not.toContain(mark);
		}
	});
});

describe("the workers' authority", () => {
	const secretKey = (name: string) => ({ secret: `PRIVATE-HALF-OF-${name}\n` });

	test("signs itself, with a key that nobody else has", () => {
		expect(the("worker-authority-key")).toMatchObject({
			type: "tls:index/privateKey:PrivateKey",
			inputs: { algorithm: "ECDSA", ecdsaCurve: "P256" },
		});
		expect(the("worker-authority-certificate")).toMatchObject({
			type: "tls:index/selfSignedCert:SelfSignedCert",
			inputs: {
				privateKeyPem: secretKey("worker-authority-key"),
				isCaCertificate: true,
				allowedUses: ["cert_signing"],
				validityPeriodHours: 87_660,
				earlyRenewalHours: 26_298,
			},
		});
	});

	test.each([
		[
			"worker-proxy",
			{ subject: { commonName: "workers.flathub.org" }, dnsNames: ["workers.flathub.org"] },
			"server_auth",
		],
		["codethink-1-worker", { subject: { commonName: "codethink-1" } }, "client_auth"],
		["codethink-2-worker", { subject: { commonName: "codethink-2" } }, "client_auth"],
	])("%s has a certificate for two years, renewed in the second", (name, request, use) => {
		expect(the(`${name}-certificate-request`).inputs).toEqual({
			privateKeyPem: secretKey(`${name}-key`),
			...request,
		});
		expect(the(`${name}-certificate`).inputs).toEqual({
			certRequestPem: `REQUEST-${name}-certificate-request`,
			caCertPem: certificatePem("worker-authority-certificate"),
			caPrivateKeyPem: secretKey("worker-authority-key"),
			allowedUses: ["digital_signature", use],
			validityPeriodHours: 17_532,
			earlyRenewalHours: 8766,
		});
		for (const part of ["key", "certificate-request", "certificate"])
			expect(parentOf(`${name}-${part}`)).toBe("worker-authority");
	});

	test("whatever it signs ends before it does", () => {
		const hours = (name: string, field: string) => Number(the(name).inputs[field]);
		expect(hours("worker-authority-certificate", "earlyRenewalHours")).toBeGreaterThan(
			hours("worker-proxy-certificate", "validityPeriodHours"),
		);
	});
});

describe.each(Object.entries(prod.remoteBuilders))("the remote builder %s", (name, remote) => {
	const steps = ["removal", "setup", "delivery-copy", "delivery-run"];
	const identity = remote.hostKey;

	test.each(steps)("%s connects to the host of the configuration only, checking its key", (step) => {
		expect(connectionOf(`${name}-${step}`)).toEqual({
			host: remote.host,
			port: remote.port,
			user: remote.user,
			privateKey: "PRIVATE-HALF-OF-deploy-key\n",
			hostKey: remote.hostKey,
			dialErrorLimit: 20,
			perDialTimeout: 15,
		});
		const place = `${remote.host}:${remote.port}`;
		expect(the(`${name}-${step}`).inputs.triggers).toEqual([step === "removal" ? place : identity]);
	});

	test("is nothing but connections", () => {
		const children = [...asked.values()].filter(({ options }) => {
			const parent = options.parent as unknown as { __name: string } | undefined;
			return parent?.__name === name || parent?.__name === `${name}-delivery`;
		});
		expect(children.map((child) => child.name)).toEqual(
			["removal", "setup", "delivery", "delivery-copy", "delivery-run"].map((step) => `${name}-${step}`),
		);
	});

	test("is set up, then delivered to", () => {
		expect(optionNames(the(`${name}-setup`).options.dependsOn)).toEqual([`${name}-removal`]);
		expect(optionNames(the(`${name}-delivery-copy`).options.dependsOn)).toEqual([`${name}-setup`]);
		expect(optionNames(the(`${name}-delivery-run`).options.dependsOn)).toEqual([`${name}-delivery-copy`]);
		expect(the(`${name}-setup`).options.customTimeouts).toEqual({ create: "30m", update: "30m" });
	});

	test("runs the setup of every builder, with the same packages and users", () => {
		const { create, stdin } = the(`${name}-setup`).inputs;
		const parameters = JSON.parse(/^python3 - '(.*)'$/.exec(String(create))?.[1] ?? "null") as unknown;
		expect(parameters).toEqual({
			owner: `${name} ${remote.host}:${remote.port} ${identity}`,
			guest: { user: remote.user },
			users: builder.users,
			packages: builder.packages,
		});
		const userData = unwrapped<Record<string, string>>(the("builder-1-server").inputs.userData)["cloud-init"] ?? "";
		const files = (parse(userData) as { write_files: { path: string; content: string }[] }).write_files;
		expect(files.find(({ path }) => path === "/usr/local/lib/flathub/machine_setup.py")?.content).toBe(stdin);
	});

	test("is taken out when its line goes, which takes no longer than some minutes", () => {
		const { inputs, options } = the(`${name}-removal`);
		expect(inputs.create).toBeUndefined();
		expect(inputs.update).toBeUndefined();
		const parameters = JSON.parse(/^python3 - '(.*)'$/.exec(String(inputs.delete))?.[1] ?? "null") as unknown;
		expect(parameters).toEqual({
			owner: `${name} ${remote.host}:${remote.port} ${identity}`,
			guest: { user: remote.user },
			users: builder.users,
		});
		expect(inputs.stdin).toContain("def remove_user(");
		expect(options.customTimeouts).toEqual({ delete: "3m" });
	});

	test("gets its own password and certificate", () => {
		const { secrets } = JSON.parse(unwrapped<string>(the(`${name}-delivery-run`).inputs.stdin)) as { secrets: Values };
		expect(secrets).toEqual({
			"worker-password": `PASSWORD-${name}-worker-password`,
			"worker-certificate.pem": certificatePem(`${name}-worker-certificate`),
			"worker-key.pem": `PRIVATE-HALF-OF-${name}-worker-key\n`,
			"worker-authority.pem": certificatePem("worker-authority-certificate"),
		});
	});
});

describe("a remote builder whose user is not root", () => {
	test("does everything through sudo, but for what is copied", async () => {
		const values = structuredClone(stackValues("prod"));
		const remotes = values.remoteBuilders as Record<string, Values>;
		if (remotes["codethink-1"]) remotes["codethink-1"].user = "flathub";
		const deployed = await deployMocked(parseConfig(values), "prod");
		const of = (step: string) => deployed.asked.get(`codethink-1-${step}`)?.inputs ?? {};
		for (const step of ["removal", "setup", "delivery-copy", "delivery-run"])
			expect(unwrapped<Values>(of(step).connection).user).toBe("flathub");
		// The shell's own reading of what is sent, with sudo as it would be called.
		const sent = (command: unknown) => {
			const script = `sudo() { printf '%s\\0' "$@"; }; ${String(command)}`;
			return execFileSync("sh", ["-c", script], { encoding: "utf8" }).split("\0").slice(0, -1);
		};
		for (const command of [of("setup").create, of("removal").delete, of("delivery-run").create]) {
			expect(sent(command).slice(0, 3)).toEqual(["-n", "sh", "-c"]);
		}
		// Nothing of the script is lost on its way through two shells: only the release differs.
		const release = /[0-9a-f]{16,64}/g;
		const asRoot = String(the("codethink-1-delivery-run").inputs.create);
		expect(sent(of("delivery-run").create)[3]?.replace(release, "")).toBe(asRoot.replace(release, ""));
	});
});

describe("outputs", () => {
	test("where to look, and who is who", async () => {
		expect(await settled(outputs.publicAddress)).toBe("198.51.100.7");
		expect(outputs.publicUrl).toBe("https://flathub.org");
		expect(Object.keys(outputs.machines).sort()).toEqual([...names].sort());
		expect(outputs.remoteBuilders).toEqual({
			"codethink-1": { host: "flathub-1.codethink.example", port: 22, user: "root" },
			"codethink-2": { host: "flathub-2.codethink.example", port: 22, user: "root" },
		});
		const remote = outputs.hostKeys["codethink-1"];
		expect(remote && (await settled(remote))).toBe(prod.remoteBuilders["codethink-1"]?.hostKey);
		expect(outputs.machines.repo?.address).toBe("10.17.0.20");
		const { serverId } = outputs.machines.repo ?? {};
		expect(serverId && (await settled(serverId))).toBe(idOf("scaleway:instance/server:Server", "repo-server"));
		const { front } = outputs.hostKeys;
		expect(front && (await settled(front))).toBe("ssh-ed25519 PUBLIC-HALF-OF-front-host-key");
	});

	test.each(["deployKey", "changeHookSecret"] as const)("%s is a secret", async (name) => {
		expect(await pulumi.isSecret(outputs[name])).toBe(true);
	});
});

/** Each machine's user-data, by name. */
async function userDataOf(config: Config): Promise<Record<string, string>> {
	const deployed = await deployMocked(config, "prod");
	const servers = [...deployed.asked.values()].filter(({ type }) => type === "scaleway:instance/server:Server");
	return Object.fromEntries(
		servers.map(({ inputs }) => [inputs.name, unwrapped<Record<string, string>>(inputs.userData)["cloud-init"] ?? ""]),
	);
}

describe("a changed inventory leaves the other machines' first boot as it is", () => {
	const userDataOfProd = () => userDataOf(prod);
	const withMachine = (name: string, machine: Values) => {
		const values = stackValues("prod");
		return parseConfig({ ...values, machines: { ...(values.machines as Values), [name]: machine } });
	};

	test("one more builder: one more machine", async () => {
		const config = withMachine("builder-3", {
			role: "builder",
			type: "DEV1-L",
			address: "10.17.0.33",
			rootGb: 50,
			architectures: ["x86_64"],
		});
		const { "builder-3": added, ...others } = await userDataOf(config);
		expect(others).toEqual(await userDataOfProd());
		expect(parse(added ?? "")).toHaveProperty("hostname", "builder-3");
	});

	test("one more remote builder: no machine", async () => {
		const values = stackValues("prod");
		const [first] = Object.values(values.remoteBuilders as Record<string, Values>);
		const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2m8p6dCk7XoJ0C4nO6YkQyD4hJ8m4mFZ5nK8a9vXyZ";
		const added = { ...first, host: "flathub-3.codethink.example", hostKey };
		const remoteBuilders = { ...(values.remoteBuilders as Values), "codethink-3": added };
		expect(await userDataOf(parseConfig({ ...values, remoteBuilders }))).toEqual(await userDataOfProd());
	});

	test("one more operator, another architecture, another remote: none", async () => {
		const values = stackValues("prod");
		const operators = { alex: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1zEB2OCprPZIrgdJVuGL8dfuv6PVlYw4VG2LyvMwIO a@b" };
		const runtimeRemotes = { other: "https://example.org/other.flatpakrepo" };
		const config = parseConfig({ ...values, operators, runtimeRemotes, domain: "flathub.example" });
		expect(await userDataOf(config)).toEqual(await userDataOfProd());
	});

	test("none names another machine than front", async () => {
		const userData = await userDataOfProd();
		for (const [name, text] of Object.entries(userData)) {
			const others = Object.entries(prod.machines).filter(([other]) => other !== name && other !== "front");
			for (const [, { address }] of others)
				expect(text, name).not.toMatch(new RegExp(`${address.replaceAll(".", "\\.")}\\b`));
		}
	});

	test("that this can fail: another address of front is in every private machine's", async () => {
		const values = stackValues("prod");
		const machines = structuredClone(values.machines) as Record<string, Values>;
		if (machines.front) machines.front.address = "10.17.0.3";
		const after = await userDataOf(parseConfig({ ...values, machines }));
		const unchanged = Object.entries(await userDataOfProd()).filter(([name, text]) => after[name] === text);
		expect(unchanged.map(([name]) => name)).toEqual(["front"]);
	});
});

test("without protect nothing is protected", async () => {
	const local = await deployMocked(stackConfig("local"), "local");
	expect([...local.asked.values()].filter(({ options }) => options.protect === true)).toEqual([]);
	for (const { name, inputs, type } of local.asked.values()) {
		if (type.startsWith("scaleway:")) expect(inputs.tags, name).toContain("stack=local");
	}
});
