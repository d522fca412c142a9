import { execFileSync } from "node:child_process";
import {
	chmodSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ExecaError, execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { ensureEngine } from "../../engine/ensure.ts";
import { image } from "../../local/cloud/cloud.ts";
import { type CloudFixture, startCloud } from "../../local/cloud/test/cloud-fixture.ts";
import { checkHost, checkSystem } from "../../local/host-check.ts";
import { account, localSettings } from "../../local/settings.ts";
import { endLeftBehind, recoverKilledChange } from "../../operations/killed-change.ts";
import { openStack, type Stack } from "../../operations/stack.ts";
import { changeStack, failureSummary, resourceStatus } from "../../operations/update-output.ts";
import { poll } from "../../process/poll.ts";
import { projectDir } from "../../project-dir.ts";
import { signingKey } from "../stack-file.ts";

// What goes wrong is said once, readably, with a non-zero exit code; what comes next works.

let folder: string;
beforeAll(() => {
	folder = mkdtempSync(join(tmpdir(), "t-failures-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A program of the project with what it printed; a failure is an answer. */
async function command(argv: readonly string[], env: Record<string, string> = {}) {
	const [program = "", ...args] = argv;
	const { all, exitCode } = await execa(program, args, {
		cwd: projectDir,
		env,
		all: true,
		reject: false,
		stdin: "ignore",
		timeout: 60_000,
	});
	return { exitCode, all };
}

/** An executable of that name in a folder of its own, to be put before the others in the PATH. */
function fakeProgram(name: string, script: string): string {
	const bin = mkdtempSync(join(folder, "bin-"));
	writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
	chmodSync(join(bin, name), 0o755);
	return `${bin}:${process.env.PATH}`;
}

describe("a system that can't run it", () => {
	// The capability to read every file stays: a checkout may be its owner's alone.
	const stranger = [
		...["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
		...["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"],
	];

	it.each([
		["up", "scripts/install: this needs root (user id 0, not 65534): run it with sudo."],
		["down", "scripts/down local needs root (user id 0, not 65534): run it with sudo."],
	])("scripts/%s without root", async (script, message) => {
		expect(await command([...stranger, `./scripts/${script}`, "local"])).toEqual({ exitCode: 1, all: message });
	});

	it("scripts/up on another system", async () => {
		const PATH = fakeProgram("uname", "echo Darwin");
		expect(await command(["./scripts/up", "local"], { PATH })).toEqual({
			exitCode: 1,
			all: "scripts/install: this needs Linux, and this is Darwin.",
		});
	});

	it("the program itself on another system", () => {
		expect(() => checkSystem("scripts/down local", "darwin", 501)).toThrow(
			"scripts/down local needs Linux (system containers, network namespaces), and this is darwin",
		);
		expect(() => checkSystem("scripts/down local", "linux", 501)).toThrow("needs root (user id 0, not 501)");
		checkSystem("scripts/down local", "linux", 0);
	});
});

describe("too little space", () => {
	let small: string;
	beforeAll(() => {
		small = mkdtempSync(join(folder, "small-"));
		execFileSync("mount", ["-t", "tmpfs", "-o", "size=64m", "t-failures", small]);
	});
	afterAll(() => execFileSync("umount", ["--lazy", small]));

	it("for the machines: how much is needed, where, for what; again the second time", async () => {
		const state = join(small, "state");
		for (const _ of ["first", "second"]) {
			const { exitCode, all } = await command(["./scripts/up", "local"], { FLATHUB_LOCAL_STATE: state });
			expect(exitCode).toBe(1);
			expect(all).toBe(
				[
					"Not enough space for the local Flathub:",
					`- 0.1 GB free, 12 GB needed (${state}: 12 GB for the machines, their volumes and builds)`,
					"Make room, or set FLATHUB_LOCAL_STATE and XDG_CACHE_HOME to folders on a larger disk, and run this again.",
				].join("\n"),
			);
			expect(existsSync(state)).toBe(false);
		}
	});

	it("for everything, if all of it is to be on one file system", () => {
		const settings = localSettings({ FLATHUB_LOCAL_STATE: join(small, "state"), XDG_CACHE_HOME: join(small, "cache") });
		expect(() => checkHost(settings)).toThrow("- 0.1 GB free, 18 GB needed");
		expect(readdirSync(small)).toEqual([]);
	});

	it("is not asked of a local Flathub that is there", () => {
		const state = join(small, "there");
		mkdirSync(state);
		writeFileSync(join(state, "cloud.json"), "{}");
		checkHost(localSettings({ FLATHUB_LOCAL_STATE: state, XDG_CACHE_HOME: join(small, "cache") }));
		rmSync(state, { recursive: true });
	});

	it("for the engine", async () => {
		await expect(ensureEngine({ cacheFolder: join(small, "engine"), site: null, report: () => {} })).rejects.toThrow(
			/not enough space to build the engine: .*t-failures.* need [\d.]+ GiB, 0\.1 GiB are free/,
		);
	});
});

describe("what is taken already", () => {
	it("the API's port: scripts/up names it and what to do", async () => {
		const other = createServer((_, response) => response.writeHead(404).end());
		await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
		const { port } = other.address() as AddressInfo;
		const state = join(folder, "port-state");
		try {
			const { exitCode, all } = await command(["./scripts/up", "local"], {
				FLATHUB_LOCAL_STATE: state,
				FLATHUB_LOCAL_PORT: String(port),
			});
			expect(exitCode).toBe(1);
			expect(all).toContain(
				`the API's port ${port} is taken by another process; stop it, or choose another with FLATHUB_LOCAL_PORT`,
			);
			expect(all).not.toContain("    at ");
		} finally {
			other.close();
		}
	});

	it("a port that is none", async () => {
		expect(await command(["./scripts/up", "local"], { FLATHUB_LOCAL_PORT: "http" })).toEqual({
			exitCode: 1,
			all: 'FLATHUB_LOCAL_PORT is "http"; expected a TCP port, 1 to 65535.',
		});
	});
});

describe("an engine that can't be built", () => {
	const build = (PATH: string, cache: string) =>
		command([process.execPath, "--import", "tsx", "engine/ensure.ts"], { PATH, XDG_CACHE_HOME: cache });
	const onlyHere = () => join(mkdtempSync(join(folder, "engine-")), "cache");

	it("says which part, the end of the log and what to do; the next try starts anew", async () => {
		const real = execFileSync("sh", ["-c", "command -v go"], { encoding: "utf8" }).trim();
		const PATH = fakeProgram(
			"go",
			`[ "$1" = build ] || exec ${real} "$@"\necho 'dial tcp: lookup proxy.golang.test: no such host' >&2\nexit 1`,
		);
		const cache = onlyHere();
		for (const _ of ["first", "second"]) {
			const { exitCode, all } = await build(PATH, cache);
			expect(exitCode).toBe(1);
			expect(all).toContain("engine: building the Pulumi CLI");
			expect(all).toContain("  dial tcp: lookup proxy.golang.test: no such host");
			expect(all).toContain(`The whole log is ${cache}/flathub-infrastructure/engine/`);
			expect(all).toContain("running this again goes on from there");
			expect(all).not.toContain("    at ");
		}
	});

	it("says what to install if there is no Go", async () => {
		const bin = mkdtempSync(join(folder, "bin-"));
		for (const tool of ["flock", "sh", "cat"]) symlinkSync(`/usr/bin/${tool}`, join(bin, tool));
		const { exitCode, all } = await build(bin, onlyHere());
		expect(exitCode).toBe(1);
		expect(all).toContain("there is no Go: install Go");
	});
});

describe("a first boot that failed", () => {
	const verdict = (code: number, report: unknown, log = "") =>
		execFileSync("python3", ["-c", "import json, sys; import ready; print(ready.verdict(*json.load(sys.stdin)))"], {
			cwd: join(projectDir, "cloud-init"),
			input: JSON.stringify([code, report, log]),
			encoding: "utf8",
		}).trim();

	it("is told by its own last word", () => {
		const log = "Get:1 http://mirror …\nfirst boot failed: no default route after 600 s: is front's NAT up?\n";
		expect(verdict(1, { errors: ["('scripts_user', …)"] }, log)).toBe(
			"cloud-init failed:\n  first boot failed: no default route after 600 s: is front's NAT up?",
		);
	});

	it("is an error too if cloud-init calls it recoverable", () => {
		const report = { recoverable_errors: { WARNING: ["Unhandled unknown content-type (text/x) userdata"] } };
		expect(verdict(2, report)).toContain("cloud-init met errors:\n  WARNING: Unhandled unknown content-type");
		expect(verdict(2, { recoverable_errors: { WARNING: ["Used fallback datasource"] } })).toBe("None");
	});
});

describe("what a change of the stack shows", () => {
	it("a line for each resource that something has happened to", () => {
		const lines = [
			"+  scaleway:instance:Server front-server creating (0s)",
			"+  scaleway:instance:Server front-server created (3s)",
			"~  command:remote:Command front-ready updated (0.51s) [diff: ~triggers]",
			"+-  scaleway:instance:Server builder-1-server replaced (0.00s)",
			"-  scaleway:vpc:Vpc flathub-vpc deleted (1s)",
			"+  scaleway:block:Volume repo-data **creating failed** error: no",
			"@ Updating....",
			"Resources:",
		];
		expect(lines.flatMap((line) => resourceStatus(line) ?? [])).toEqual([
			"front-server: created (3s)",
			"front-ready: updated (0.51s)",
			"builder-1-server: replaced (0.00s)",
			"flathub-vpc: deleted (1s)",
			"repo-data: creating failed",
		]);
	});

	it("the end of a failure that has no diagnostics", () => {
		const stderr = "error: the stack is currently locked by 1 lock(s).";
		expect(failureSummary({ stdout: "Updating (local):\n", stderr })).toBe(`Updating (local):\n${stderr}`);
	});
});

// The real program, engine and API; only what the API asks of the host is kept in books.
describe("a change of the stack", () => {
	let cloud: CloudFixture;
	let stack: Stack;
	let backend: string;
	const environment = { ...process.env };
	const steps: string[] = [];
	const recover = () => recoverKilledChange({ apiUrl: cloud.url, backend }, stack, (step) => void steps.push(step));

	beforeAll(async () => {
		cloud = await startCloud();
		process.env.FLATHUB_LOCAL_STATE = join(folder, "stack");
		process.env.FLATHUB_LOCAL_PORT = new URL(cloud.url).port;
		backend = join(folder, "stack/pulumi/backend");
		stack = await openStack("local");
		// No machine is outside this data centre.
		const configFile = stack.configArguments.at(-1) as string;
		const file = parse(readFileSync(configFile, "utf8")) as { config: Record<string, unknown> };
		const alone = { "flathub:remoteBuilders": {}, "flathub:architectures": ["x86_64", "i386"] };
		writeFileSync(configFile, stringify({ ...file, config: { ...file.config, ...alone } }));
		for (const [key, value] of Object.entries({ githubToken: "token", signingKey })) {
			await stack.pulumi(["config", "set", "--secret", `flathub:${key}`, ...stack.configArguments], { input: value });
		}
	});
	afterAll(async () => {
		process.env = environment;
		await endLeftBehind(backend);
		await cloud?.remove();
	});

	/** The stack's locks and who holds them. */
	const holders = () =>
		(existsSync(join(backend, ".pulumi/locks"))
			? readdirSync(join(backend, ".pulumi/locks"), { recursive: true, encoding: "utf8" })
			: []
		)
			.filter((file) => file.endsWith(".json"))
			.map((file) => JSON.parse(readFileSync(join(backend, ".pulumi/locks", file), "utf8")).pid as number);

	it("with a bad configuration names each field, its value and what was expected, without a stack trace", async () => {
		const good = stack.configArguments.at(-1) as string;
		const bad = join(folder, "stack/pulumi/Pulumi.bad.yaml");
		const file = parse(readFileSync(good, "utf8")) as {
			config: { "flathub:machines": Record<"front", Record<string, unknown>> } & Record<string, unknown>;
		};
		file.config["flathub:protect"] = "perhaps";
		file.config["flathub:domian"] = "flathub.org";
		file.config["flathub:machines"].front.type = "VC9L";
		writeFileSync(bad, stringify(file));
		const { exitCode, stdout, stderr } = await stack.pulumi(
			["preview", "--color", "never", "--stack", "local", "--config-file", bad],
			{ mayFail: true },
		);
		expect(exitCode).not.toBe(0);
		expect(failureSummary({ stdout, stderr })).toBe(
			[
				"  pulumi:pulumi:Stack (flathub-local):",
				"    error: The stack's configuration is not valid:",
				'      - flathub:protect is "perhaps", expected true or false',
				'      - flathub:machines.front.type is "VC9L", expected a machine type of Scaleway; near it: VC1L, C2L, VC1M',
				"      - flathub:domian is not a known key, is it a typo?",
			].join("\n"),
		);
		expect(stdout + stderr).not.toContain("    at ");
	});

	it("that was killed is recovered from: its lock goes, and what it did not record; the rest stays", async () => {
		const release = cloud.hypervisor.hold();
		const up = stack.pulumi(["up", "--yes", "--skip-preview", ...stack.configArguments], { mayFail: true });
		up.catch((error: ExecaError) => error); // killed below
		const volumes = () => Object.values(cloud.cloud.state.volumes);
		const ips = () => Object.values(cloud.cloud.state.publicIps);
		await poll("volumes under way and an address recorded", 60, async () => {
			if (volumes().length < 3 || ips().length < 1) return undefined;
			const recorded = (await stack.resources()).map(({ id }) => id);
			return recorded.some((id) => id?.endsWith(ips()[0]?.id ?? "none")) || undefined;
		});
		await expect(recover()).rejects.toThrow(
			`Stack local is being changed by process ${holders()[0]}; wait until it has finished, or end it`,
		);
		for (const pid of holders()) process.kill(pid, "SIGKILL");
		await up.catch(() => {});
		release();
		await cloud.cloud.settled();

		const instances = "/instance/v1/zones/fr-par-1/servers";
		const server = { name: "builder-9", commercial_type: "DEV1-S", image: image.id, project: account.projectId };
		const made = await cloud.request("POST", instances, { ...server, tags: ["stack=local", "name=builder-9"] });
		expect(made.status).toBe(201);
		await cloud.request("POST", `${instances}/${made.body.server.id}/action`, { action: "poweron" });
		const foreign = await cloud.request("POST", instances, { ...server, name: "other", tags: ["stack=other"] });

		expect(holders()).toHaveLength(1);
		const kept = ips().map(({ id }) => id);
		await recover();
		expect(holders()).toEqual([]);
		expect(steps.join("\n")).toMatch(/process \d+ was killed in the middle of a change: releasing its lock/);
		expect(steps.join("\n")).toContain("removing volume master-data, which the killed change did not record");
		expect(steps.join("\n")).toContain("removing server builder-9");
		expect(Object.keys(cloud.cloud.state.servers)).toEqual([foreign.body.server.id]);
		expect(volumes().filter(({ reference }) => reference?.serverId !== foreign.body.server.id)).toEqual([]);
		await cloud.request("DELETE", `${instances}/${foreign.body.server.id}`);
		for (const { id } of volumes()) await cloud.request("DELETE", `/block/v1/zones/fr-par-1/volumes/${id}`);
		await cloud.cloud.settled();
		expect(ips().map(({ id }) => id)).toEqual(kept);
		await recover(); // nothing to do
	});

	it("that was killed while it took the lock is recovered from", async () => {
		const file = join(backend, ".pulumi/locks/organization/flathub/local/half.json");
		mkdirSync(join(file, ".."), { recursive: true });
		writeFileSync(file, '{"pid":');
		await recover();
		expect(existsSync(file)).toBe(false);
	});

	it("that fails shows the failed resources once, and where the rest is", async () => {
		cloud.hypervisor.failing.add("powerOn");
		const log = join(folder, "stack/pulumi-up.log");
		const progress: string[] = [];
		const error = await changeStack(stack, "up", log, (line) => progress.push(line)).then(
			() => expect.unreachable("it should have failed"),
			(reason: Error) => reason.message,
		);
		expect(error).toContain("pulumi up of stack local failed (exit code");
		// The engine stops at the first failures, so which machines are among them differs.
		const failed = [...error.matchAll(/^ {2}scaleway:instance:Server \((\S+)\):$/gm)].map(([, name]) => name as string);
		expect(failed.length).toBeGreaterThan(0);
		expect(new Set(failed).size).toBe(failed.length);
		expect(error).toContain(`The whole output is in ${log}.`);
		expect(error).toContain("expected state running but found stopped: failed: powerOn was told to fail");
		expect(error.split("\n").length).toBeLessThan(45);
		for (const name of failed) expect(progress).toContain(`${name}: creating failed`);
		expect(readFileSync(log, "utf8")).toContain("Diagnostics:");
		expect(holders()).toEqual([]);
	});

	it("is followed by a destroy that leaves nothing", async () => {
		cloud.hypervisor.failing.clear();
		await recover();
		await changeStack(stack, "destroy", join(folder, "destroy.log"), () => {});
		const { servers, volumes, publicIps, privateNetworks } = cloud.cloud.state;
		expect([servers, publicIps, privateNetworks]).toEqual([{}, {}, {}]);
		expect(Object.values(volumes)).toEqual([]);
		expect((await stack.resources()).filter(({ type }) => type.startsWith("scaleway:"))).toEqual([]);
	});
});
