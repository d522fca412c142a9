import { existsSync, readdirSync, readFileSync } from "node:fs";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { localSettings } from "../../local/settings.ts";
import { poll } from "../../process/poll.ts";
import { projectDir } from "../../project-dir.ts";
import { type Flathub, finalStatus, openFlathub } from "./flathub.ts";
import { type Residue, takeResidue } from "./residue.ts";

const script = (name: string, ...args: string[]) =>
	execa(`./scripts/${name}`, args, { cwd: projectDir, all: true, reject: false, stdin: "ignore" });

/** What a script said if it failed, else nothing. */
const failureOf = ({ exitCode, all }: { exitCode?: number | undefined; all?: string | undefined }): string =>
	exitCode === 0 ? "" : `exit code ${exitCode}: ${all}`;

let before: Residue;
let flathub: Flathub;

beforeAll(async () => {
	// Whatever an interrupted run left; the stock is taken of a host without it.
	await script("down", "local");
	before = await takeResidue();
});

describe("scripts/up local", () => {
	it("that is killed in the middle says what happened", async () => {
		const pulumiDir = `${localSettings().stateDir}/pulumi`;
		const up = script("up", "local");
		const pid = await poll("a server of the first up", 1500, () => {
			const log = `${localSettings().stateDir}/pulumi-up.log`;
			if (!existsSync(log) || !/Server \S+ created/.test(readFileSync(log, "utf8"))) return undefined;
			const [lock] = readdirSync(`${pulumiDir}/backend/.pulumi/locks`, { recursive: true, encoding: "utf8" })
				.filter((file) => file.endsWith(".json"))
				.map((file) => JSON.parse(readFileSync(`${pulumiDir}/backend/.pulumi/locks/${file}`, "utf8")));
			return lock.pid as number;
		});
		process.kill(pid, "SIGKILL");
		const { exitCode, all } = await up;
		expect(exitCode).not.toBe(0);
		expect(all).toContain("ended by SIGKILL");
	}, 1_800_000);

	it("is run again, recovers, and ends with an app that a Flatpak user installed and ran", async () => {
		const up = await script("up", "local");
		expect(up.all).toContain("was killed in the middle of a change: releasing its lock");
		expect(up.all).toContain("says: Hello, world!");
		expect(up.exitCode).toBe(0);
		flathub = await openFlathub();
	}, 2_400_000);

	it("changes nothing when the stack is brought up again", async () => {
		const { exitCode, stdout } = await flathub.stack.pulumi([
			"up",
			"--yes",
			"--skip-preview",
			"--expect-no-changes",
			...flathub.stack.configArguments,
		]);
		expect(stdout).toMatch(/unchanged/);
		expect(exitCode).toBe(0);
	});
});

describe("secrets", () => {
	it("stand in clear neither in the state, nor in the logs, nor in a command line", async () => {
		const { stack, outputs } = flathub;
		const config = async (key: string) => (await stack.pulumi(["config", "get", key, ...stack.configArguments])).stdout;
		const secrets: Record<string, string> = {
			"deploy key": outputs.deployKey.split("\n")[2] ?? "",
			"change hook's secret": outputs.changeHookSecret,
			"signing passphrase": await config("local:signingPassphrase"),
			"signing key": (await config("flathub:signingKey")).split("\n")[4] ?? "",
			"GitHub token": await config("flathub:githubToken"),
			"worker's password": await flathub.on("builder-1", "cat", "/etc/flathub/secrets/worker-password"),
		};
		const { stateDir } = localSettings();
		const places: Record<string, string> = {
			state: (await stack.pulumi(["stack", "export", "--stack", stack.name])).stdout,
			configuration: readFileSync(`${stateDir}/pulumi/Pulumi.local.yaml`, "utf8"),
			"cloud's log":
				readFileSync(`${stateDir}/cloud.log`, "utf8") + readFileSync(`${stateDir}/cloud-output.log`, "utf8"),
			"command lines": (await execa("ps", ["-eww", "-o", "args"])).stdout,
		};
		for (const machine of Object.keys(outputs.machines)) {
			places[`journal of ${machine}`] = await flathub.on(machine, "journalctl", "--no-pager", "--output=cat");
		}
		const found = Object.entries(secrets).flatMap(([secret, value]) => {
			expect([secret, value.length > 15]).toEqual([secret, true]);
			return Object.entries(places)
				.filter(([, text]) => text.includes(value))
				.map(([place]) => `${secret} in ${place}`);
		});
		expect(found).toEqual([]);
	});
});

describe("the network", () => {
	it("lets the world reach front alone", async () => {
		const { world, outputs } = flathub;
		const reaches = async (address: string) =>
			(await world.client.run(["curl", "--silent", "--max-time", "4", "--output", "/dev/null", `http://${address}/`]))
				.exitCode === 0;
		expect(await reaches(outputs.publicAddress)).toBe(true);
		for (const [name, { address }] of Object.entries(outputs.machines)) {
			expect([name, await reaches(address)]).toEqual([name, false]);
		}
	});

	it("takes a builder to the package mirror through front's NAT", async () => {
		const packets = async () =>
			Number(/packets (\d+)/.exec(await flathub.on("front", "nft", "list", "counter", "ip", "nat", "nat_out"))?.[1]);
		const earlier = await packets();
		await flathub.on("builder-1", "apt-get", "update");
		expect(await packets()).toBeGreaterThan(earlier);
		expect(await flathub.on("builder-1", "ip", "route", "show", "default")).toContain("via 10.17.0.2");
	});

	it("keeps a builder from every other machine but the master's worker port", async () => {
		const open = async (host: string, port: number) =>
			(
				await flathub.access.ssh("builder-1", ["timeout", "4", "bash", "-c", `exec 3<>/dev/tcp/${host}/${port}`], {
					mayFail: true,
				})
			).exitCode === 0;
		expect(await open("10.17.0.10", 9989)).toBe(true);
		expect(await open("10.17.0.10", 22)).toBe(false);
		expect(await open("10.17.0.10", 8010)).toBe(false);
		expect(await open("10.17.0.20", 80)).toBe(false);
		expect(await open("10.17.0.32", 22)).toBe(false);
	});
});

describe("a push", () => {
	it("to the default branch publishes both architectures, and the client verifies the signature", async () => {
		const { world } = flathub;
		const { commit } = await world.pushSample("org.flathub.test.Shell");
		expect(await finalStatus(world, "org.flathub.test.Shell", commit, "flathub/publish")).toBe("success");
		const refs = await flathub.on("repo", "ostree", "refs", "--repo=/srv/repo");
		expect(refs.split("\n")).toContain("app/org.flathub.test.Shell/x86_64/stable");
		expect(refs.split("\n")).toContain("app/org.flathub.test.Shell/i386/stable");
		const remote = await world.client.run(["flatpak", "remote-ls", "--user", "--arch=*", "--columns=ref", "flathub"]);
		expect(remote.stdout).toContain("org.flathub.test.Shell/x86_64/stable");
		const install = await world.client.run([
			"flatpak",
			"install",
			"--user",
			"--noninteractive",
			"flathub",
			"org.flathub.test.Shell",
		]);
		expect([install.exitCode, install.stderr]).toEqual([0, expect.not.stringContaining("error")]);
		const verified = await world.client.run([
			"ostree",
			"--repo=/home/user/.local/share/flatpak/repo",
			"show",
			"--gpg-verify-remote=flathub",
			"flathub:app/org.flathub.test.Shell/x86_64/stable",
		]);
		expect(verified.stdout).toMatch(/Good signature from "Flathub local/);
	});

	it("serves the i386 build, which a client can verify, install and run", async () => {
		// An x86_64 flatpak does not offer an i386 ref that exists for x86_64 too (its summary index holds only what fits
		// the machine best), so the ref is pulled with ostree, verified, and installed from a bundle.
		const client = async (...command: string[]) => {
			const { exitCode, stdout, stderr } = await flathub.world.client.run(command);
			expect([command, exitCode, stderr]).toEqual([command, 0, expect.any(String)]);
			return stdout;
		};
		const repo = "/home/user/i386";
		await client("rm", "-rf", repo);
		await client("ostree", "init", `--repo=${repo}`, "--mode=archive");
		await client(
			"curl",
			"--silent",
			"--fail",
			"--output",
			`${repo}/flathub.flatpakrepo`,
			"http://flathub.test/repo/flathub.flatpakrepo",
		);
		await client("sh", "-c", `sed -n s/^GPGKey=//p ${repo}/flathub.flatpakrepo | base64 -d > ${repo}/key.gpg`);
		await client(
			"ostree",
			`--repo=${repo}`,
			"remote",
			"add",
			`--gpg-import=${repo}/key.gpg`,
			"flathub",
			"http://flathub.test/repo/",
		);
		await client("ostree", `--repo=${repo}`, "pull", "--mirror", "flathub", "app/org.gnu.hello/i386/stable");
		await client("flatpak", "build-bundle", "--arch=i386", repo, `${repo}/hello.flatpak`, "org.gnu.hello", "stable");
		await client(
			"flatpak",
			"install",
			"--user",
			"--noninteractive",
			"--or-update",
			"--bundle",
			`${repo}/hello.flatpak`,
		);
		expect((await client("flatpak", "run", "--user", "--arch=i386", "org.gnu.hello")).trim()).toBe("Hello, world!");
	});

	it("to another branch builds nothing, and a broken manifest publishes nothing and says so on the commit", async () => {
		const { world } = flathub;
		const other = await world.pushSample("org.flathub.test.Shell", { branch: "experiment" });
		const summary = () => flathub.on("repo", "sha256sum", "/srv/repo/summary");
		const before = await summary();
		const broken = await world.pushSample("org.flathub.test.Shell", { broken: true });
		expect(await finalStatus(world, "org.flathub.test.Shell", broken.commit, "flathub/build-x86_64")).toBe("failure");
		expect(await summary()).toBe(before);
		// The later push has come to its end, and the earlier one, to the branch, has no status at all.
		expect(await world.statuses("org.flathub.test.Shell", other.commit)).toEqual([]);
	});
});

describe("a machine replaced on purpose", () => {
	it("repo keeps its refs", async () => {
		const refs = () => flathub.on("repo", "ostree", "refs", "--repo=/srv/repo");
		const [machineId, known] = [await flathub.on("repo", "cat", "/etc/machine-id"), await refs()];
		const replaced = await script("replace", "local", "repo");
		expect(failureOf(replaced)).toBe("");
		flathub = await openFlathub();
		expect(await flathub.on("repo", "cat", "/etc/machine-id")).not.toBe(machineId);
		expect((await refs()).split("\n").sort()).toEqual(known.split("\n").sort());
	});

	it("master keeps its build history, and the next push publishes", async () => {
		const builds = async () => {
			const response = await fetch(`http://${flathub.outputs.publicAddress}/builds/api/v2/builds?complete=true`);
			const { builds } = (await response.json()) as { builds: { buildid: number }[] };
			return builds.map(({ buildid }) => buildid);
		};
		const known = await builds();
		expect(known.length).toBeGreaterThan(0);
		const replaced = await script("replace", "local", "master");
		expect(failureOf(replaced)).toBe("");
		flathub = await openFlathub();
		expect(await builds()).toEqual(expect.arrayContaining(known));
		const { commit } = await flathub.world.pushSample("org.flathub.test.Shell");
		expect(await finalStatus(flathub.world, "org.flathub.test.Shell", commit, "flathub/publish")).toBe("success");
	});
});

describe("scripts/down local", () => {
	it("leaves nothing behind", async () => {
		const down = await script("down", "local");
		expect([down.exitCode, down.all]).toEqual([0, expect.not.stringContaining("by force")]);
		expect(await takeResidue()).toEqual(before);
	}, 600_000);
});

afterAll(() => flathub?.access.close());
