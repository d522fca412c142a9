import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cliVersion } from "../engine/pins.ts";
import { sshConfig } from "./access.ts";
import { localStackEnvironment, makeStack, mergeStackFile, openStack, serverUrn } from "./stack.ts";

describe("mergeStackFile", () => {
	it("takes the tracked settings and keeps the copy's salt and secrets", () => {
		const merged = mergeStackFile(
			{ config: { "flathub:domain": "flathub.test", "scaleway:apiUrl": "http://127.0.0.1:8041" } },
			{
				encryptionsalt: "v1:salt",
				config: { "flathub:domain": "old.test", "flathub:gone": "1", "flathub:githubToken": { secure: "v1:x" } },
			},
			"http://127.0.0.1:9999",
		);
		expect(merged).toEqual({
			encryptionsalt: "v1:salt",
			config: {
				"flathub:domain": "flathub.test",
				"scaleway:apiUrl": "http://127.0.0.1:9999",
				"flathub:githubToken": { secure: "v1:x" },
			},
		});
	});
});

describe("mergeStackFile of remote builders", () => {
	const merge = (tracked: Record<string, unknown>, copy: Record<string, unknown>) =>
		mergeStackFile(
			{ config: { "flathub:remoteBuilders": tracked } },
			{ config: { "flathub:remoteBuilders": copy } },
			"http://127.0.0.1:8041",
		).config["flathub:remoteBuilders"];

	it("keeps the copy's host keys, and no builder whose line is gone", () => {
		expect(merge({ one: { port: 22 } }, { one: { port: 23, hostKey: "made" }, gone: { hostKey: "x" } })).toEqual({
			one: { port: 22, hostKey: "made" },
		});
	});
	it("prefers a host key that is tracked", () => {
		expect(merge({ one: { hostKey: "tracked" } }, { one: { hostKey: "made" } })).toEqual({
			one: { hostKey: "tracked" },
		});
	});
	it("leaves those alone that have none yet", () => {
		expect(merge({ one: {} }, {})).toEqual({ one: {} });
	});
});

describe("an operator's own stack", () => {
	let folder: string;
	beforeEach(() => {
		folder = mkdtempSync(join(tmpdir(), "stack-test-"));
		mkdirSync(join(folder, "bin"));
		const pulumi = join(folder, "bin/pulumi");
		writeFileSync(pulumi, `#!/bin/sh\ncase $1 in version) echo v${cliVersion};; *) echo "$PULUMI_HOME $*";; esac\n`);
		chmodSync(pulumi, 0o755);
		vi.stubEnv("PATH", join(folder, "bin"));
		vi.stubEnv("PULUMI_HOME", join(folder, "home"));
		vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
	});
	afterEach(() => {
		vi.unstubAllEnvs();
		rmSync(folder, { recursive: true });
	});

	it("has the official CLI with the operator's logins; that no plugin is installed is no fault", async () => {
		const stack = await openStack("rehearsal");
		expect((await stack.pulumi(["whoami"])).stdout).toBe(`${join(folder, "home")} whoami`);
	});

	it("has no engine made for it", async () => {
		rmSync(join(folder, "bin/pulumi"));
		await expect(openStack("rehearsal")).rejects.toThrow("no official Pulumi CLI on the PATH");
		expect(readdirSync(folder)).toEqual(["bin"]);
	});

	const asked = (file: string, env: Record<string, string>) => {
		const configFile = join(folder, "Pulumi.prod.yaml");
		writeFileSync(configFile, file);
		return makeStack("prod", { ...process.env, ...env }, configFile, []).pulumi(["whoami"]);
	};

	it.each([{}, { PULUMI_CONFIG_PASSPHRASE_FILE: "" }])("says that its passphrase is missing: %j", async (env) => {
		await expect(asked("encryptionsalt: v1:salt\n", env)).rejects.toThrow(
			"Stack prod: its secrets are encrypted with a passphrase, and the environment has none; set PULUMI_CONFIG_PASSPHRASE_FILE",
		);
	});

	it.each([
		["a passphrase's file", "encryptionsalt: v1:salt\n", { PULUMI_CONFIG_PASSPHRASE_FILE: "/run/passphrase" }],
		["a passphrase, even an empty one", "encryptionsalt: v1:salt\n", { PULUMI_CONFIG_PASSPHRASE: "" }],
		["another encryption", "secretsprovider: awskms://key\n", {}],
	])("is content with %s", async (_, file, env) => {
		expect((await asked(file, env)).exitCode).toBe(0);
	});
});

describe("localStackEnvironment", () => {
	it("lets no Scaleway setting of the caller through", () => {
		const { env } = localStackEnvironment({
			HOME: "/home/x",
			FLATHUB_LOCAL_STATE: "/state",
			SCW_ACCESS_KEY: "SCWREALREALREALREAL0",
			SCW_API_URL: "https://api.example",
			PULUMI_CONFIG_PASSPHRASE: "mine",
		});
		const scaleway = Object.entries(env).filter(([key]) => key.startsWith("SCW_"));
		expect(scaleway).toEqual([["SCW_CONFIG_PATH", "/state/pulumi/no-scaleway-profile.yaml"]]);
		expect(env.PULUMI_CONFIG_PASSPHRASE).toBeUndefined();
		expect(env.PULUMI_BACKEND_URL).toBe("file:///state/pulumi/backend");
		expect(env.HOME).toBe("/home/x");
	});
});

describe("serverUrn", () => {
	const urn = (type: string, name: string) => ({ type, urn: `urn:pulumi:local::flathub::${type}::${name}` });
	const resources = [urn("scaleway:instance/server:Server", "repo-server"), urn("flathub:index:Front", "front")];
	it("finds a machine's server", () => {
		expect(serverUrn(resources, "repo")).toBe(
			"urn:pulumi:local::flathub::scaleway:instance/server:Server::repo-server",
		);
	});
	it("names the machines there are", () => {
		expect(() => serverUrn(resources, "front")).toThrow('Machine "front" is not in the stack; expected one of: repo.');
	});
});

describe("sshConfig", () => {
	it("checks every host key and jumps through front", () => {
		const { config, knownHosts } = sshConfig(
			{
				publicAddress: "198.18.0.100",
				publicUrl: "http://flathub.test",
				deployKey: "key",
				changeHookSecret: "secret",
				machines: {
					front: { address: "10.17.0.2", serverId: "fr-par-1/1" },
					repo: { address: "10.17.0.20", serverId: "fr-par-1/2" },
				},
				remoteBuilders: { "codethink-1": { host: "198.18.0.21", port: 2222, user: "flathub" } },
				hostKeys: { front: "ssh-ed25519 AAAAF\n", repo: "ssh-ed25519 AAAAR", "codethink-1": "ssh-ed25519 AAAAC" },
			},
			"/dir",
		);
		expect(knownHosts).toBe("front ssh-ed25519 AAAAF\nrepo ssh-ed25519 AAAAR\ncodethink-1 ssh-ed25519 AAAAC\n");
		expect(config).toContain("\tStrictHostKeyChecking yes\n");
		expect(config).toContain("Host front\n\tHostName 198.18.0.100\n\tHostKeyAlias front\nHost repo\n");
		expect(config).toContain("Host repo\n\tHostName 10.17.0.20\n\tHostKeyAlias repo\n\tProxyJump front\n");
		expect(config).toContain(
			"Host codethink-1\n\tHostName 198.18.0.21\n\tPort 2222\n\tUser flathub\n\tHostKeyAlias codethink-1\nHost *\n\tUser root\n",
		);
	});
});
