import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { buildFailed, parts, spaceProblem } from "./build.ts";
import { exportLines } from "./ensure.ts";
import { checkSum, download, findInstalled, findOnPath, missingPlugins, operatorsEnvironment } from "./official.ts";
import { atLeast, cliVersion, engineKey, modules, pluginFolder, pluginNames, readPluginVersions } from "./pins.ts";
import { duration } from "./progress.ts";

const versions = { scaleway: "1.54.0", command: "1.2.1", random: "4.21.1", tls: "5.5.1" };

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "engine-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(path: string, text: string): string {
	const file = join(folder, path);
	mkdirSync(dirname(file), { recursive: true });
	writeFileSync(file, text);
	return file;
}

describe("the pins", () => {
	test("are the exact versions in package.json", () => {
		expect(readPluginVersions(join(import.meta.dirname, "..", "package.json"))).toEqual(versions);
	});

	test.each(["^1.2.1", "latest", "1.2"])("refuse the version %s", (version) => {
		const file = write("package.json", JSON.stringify({ dependencies: { "@pulumiverse/scaleway": version } }));
		expect(() => readPluginVersions(file)).toThrow(`@pulumiverse/scaleway is ${version}, expected an exact version`);
	});

	test("refuse a missing package", () => {
		const file = write("package.json", JSON.stringify({ dependencies: {} }));
		expect(() => readPluginVersions(file)).toThrow("@pulumiverse/scaleway is missing");
	});

	test.each([
		["3.259.0", "3.259.0", true],
		["v3.259.1", "3.259.0", true],
		["4.0.0", "3.259.0", true],
		["3.260.0-alpha.1", "3.259.0", true],
		["3.258.9", "3.259.0", false],
		["2.999.0", "3.259.0", false],
	])("%s is at least %s: %s", (version, minimum, expected) => {
		expect(atLeast(version, minimum)).toBe(expected);
	});
});

describe("the key", () => {
	const key = (platform = "linux-x64", wanted = versions) => engineKey(join(folder, "engine"), wanted, platform);

	beforeEach(() => {
		for (const name of [...modules, "build.ts"]) {
			cpSync(join(import.meta.dirname, name), join(folder, "engine", name), { recursive: true });
		}
	});

	test("is the same for the same sources", () => {
		expect(key()).toBe(engineKey(import.meta.dirname, versions, "linux-x64"));
		expect(key()).toMatch(/^[0-9a-f]{16}$/);
	});

	test.each(["plugins/remote/command.go", "cli/go.sum", "scaleway/new.go", "build.ts"])("changes with %s", (file) => {
		const before = key();
		write(join("engine", file), "changed");
		expect(key()).not.toBe(before);
	});

	test("changes with a version and with the platform", () => {
		expect(key("linux-x64", { ...versions, tls: "5.5.2" })).not.toBe(key());
		expect(key("linux-arm64")).not.toBe(key());
	});

	test("does not change with a test", () => {
		const before = key();
		write("engine/plugins/remote/command_test.go", "changed");
		expect(key()).toBe(before);
	});
});

describe("the parts", () => {
	test("put every plugin where the CLI looks for it", () => {
		const outputs = parts(versions).map((part) => part.output);
		for (const name of pluginNames) {
			expect(outputs).toContain(`plugins/resource-${name}-v${versions[name]}/pulumi-resource-${name}`);
		}
		expect(outputs).toContain("bin/pulumi");
		expect(outputs).toContain("bin/pulumi-language-nodejs");
		expect(new Set(outputs).size).toBe(outputs.length);
	});

	test("give every versioned binary its version", () => {
		const flags = (output: string) =>
			parts(versions)
				.find((part) => part.output.endsWith(output))
				?.flags.join(" ");
		expect(flags("/pulumi")).toContain(`version.Version=v${cliVersion}`);
		expect(flags("pulumi-resource-tls")).toContain("main.version=5.5.1");
	});

	test("are in modules that exist", () => {
		for (const part of parts(versions)) {
			expect(existsSync(join(import.meta.dirname, part.module, "go.mod")), part.module).toBe(true);
		}
	});

	test("say what failed, with the end of the log and what to do", () => {
		const [part] = parts(versions);
		if (!part) throw new Error("no parts");
		const log = Array.from({ length: 40 }, (_, index) => `line ${index}`).join("\n");
		const message = buildFailed(part, 1, log, "/tmp/engine.log");
		expect(message).toContain("building the Pulumi CLI 3.259.0 failed");
		expect(message).toContain("exit code 1");
		expect(message).toContain("line 39");
		expect(message).not.toContain("line 19\n");
		expect(message).toContain("/tmp/engine.log");
	});

	test("need space, and say how much", () => {
		expect(spaceProblem({ folders: ["/a", "/b"], gb: 4, freeGb: 4.5 })).toBeUndefined();
		expect(spaceProblem({ folders: ["/a", "/b"], gb: 4, freeGb: 1.25 })).toBe(
			"not enough space to build the engine: /a, /b need 4.0 GiB, 1.3 GiB are free",
		);
	});
});

describe("what is already there", () => {
	const install = (version: string): void => {
		for (const name of ["pulumi", "pulumi-language-nodejs"]) {
			chmodSync(write(`bin/${name}`, `#!/bin/sh\necho v${version}\n`), 0o755);
		}
		for (const name of pluginNames) {
			write(join("home", pluginFolder(name, versions[name]), `pulumi-resource-${name}`), "");
		}
	};
	const find = () => {
		const before = process.env.PULUMI_HOME;
		process.env.PULUMI_HOME = join(folder, "home");
		try {
			return findInstalled(versions, join(folder, "bin"), join(folder, "cache"));
		} finally {
			if (before === undefined) delete process.env.PULUMI_HOME;
			else process.env.PULUMI_HOME = before;
		}
	};

	test("is used", () => {
		install(cliVersion);
		expect(find()).toEqual({ pulumi: join(folder, "bin/pulumi"), home: join(folder, "home") });
	});

	test("is not used when it is too old", () => {
		install("3.258.0");
		expect(find()).toBeUndefined();
	});

	test("is not used when a plugin is missing", () => {
		install(cliVersion);
		rmSync(join(folder, "home", pluginFolder("tls", "5.5.1")), { recursive: true });
		expect(missingPlugins(join(folder, "home"), versions)).toEqual(["tls"]);
		expect(find()).toBeUndefined();
	});

	test("is not the engine that was built here", () => {
		chmodSync(write("cache/key/bin/pulumi", ""), 0o755);
		const path = join(folder, "cache/key/bin");
		expect(findOnPath("pulumi", path, join(folder, "cache"))).toBeUndefined();
		expect(findOnPath("pulumi", path, join(folder, "other"))).toBe(join(path, "pulumi"));
	});
});

describe("an operator's own stack", () => {
	const cli = (place: string, version = cliVersion) =>
		chmodSync(write(`${place}/pulumi`, `#!/bin/sh\necho v${version}\n`), 0o755);
	const environment = (variables: Record<string, string> = {}) => {
		const PATH = [join(folder, "made/key/bin"), join(folder, "bin")].join(":");
		return operatorsEnvironment({ PATH, PULUMI_HOME: join(folder, "home"), ...variables }, join(folder, "made"));
	};

	test("has the official CLI with the operator's logins, though no plugin is installed and an engine was made", () => {
		cli("bin");
		cli("made/key/bin");
		expect(missingPlugins(join(folder, "home"), versions)).toEqual(pluginNames);
		const { PATH, PULUMI_HOME } = environment();
		expect(PULUMI_HOME).toBe(join(folder, "home"));
		expect(findOnPath("pulumi", PATH ?? "", "/nowhere")).toBe(join(folder, "bin/pulumi"));
	});

	test("has none but the official CLI", () => {
		cli("made/key/bin");
		expect(() => environment()).toThrow(`no official Pulumi CLI on the PATH; expected ${cliVersion} or newer`);
	});

	test("has no CLI that is too old or does not run", () => {
		cli("bin", "3.258.0");
		expect(() => environment()).toThrow("bin/pulumi is v3.258.0, expected 3.259.0 or newer");
		chmodSync(write("bin/pulumi", "#!/bin/sh\nexit 1\n"), 0o755);
		expect(() => environment()).toThrow("bin/pulumi is no Pulumi that runs, expected 3.259.0 or newer");
	});

	test("has no plugins that stand in", () => {
		cli("bin");
		const PULUMI_HOME = join(folder, "made/key");
		expect(() => environment({ PULUMI_HOME })).toThrow(`PULUMI_HOME is ${PULUMI_HOME}, an engine made for the local`);
	});
});

describe("the official downloads", () => {
	const archive = `pulumi-v${cliVersion}-${process.platform}-${process.arch}.tar.gz`;

	test("are checked", () => {
		const bytes = Buffer.from("an archive");
		const sum = createHash("sha256").update(bytes).digest("hex");
		expect(() => checkSum(bytes, "a.tar.gz", `0  b.tar.gz\n${sum}  a.tar.gz\n`)).not.toThrow();
		expect(() => checkSum(bytes, "a.tar.gz", `${"0".repeat(64)}  a.tar.gz\n`)).toThrow("expected 0000");
		expect(() => checkSum(bytes, "a.tar.gz", `${sum}  other.tar.gz\n`)).toThrow("does not have a.tar.gz");
	});

	test.each(["nothing there", "a wrong checksum"])("leave nothing behind: %s", async (fault) => {
		const server = createServer((request, response) => {
			const known = fault === "a wrong checksum";
			response.statusCode = known ? 200 : 404;
			response.end(request.url?.endsWith(".txt") ? `${"0".repeat(64)}  ${archive}\n` : "not the archive");
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const lines: string[] = [];
		try {
			const site = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
			const done = await download(join(folder, "official"), versions, (line) => lines.push(line), site);
			expect(done).toBe(false);
		} finally {
			server.close();
		}
		expect(lines.at(-1)).toContain(fault === "nothing there" ? "answers 404" : "expected 0000");
		expect(readdirSync(folder)).toEqual([]);
	});
});

test("the environment is quoted for a shell", () => {
	expect(exportLines({ PATH: "/it's here/bin:/bin" })).toBe("export PATH='/it'\\''s here/bin:/bin'\n");
});

test.each([
	[420, "0.4 s"],
	[12_000, "12 s"],
	[280_000, "4 min 40 s"],
])("%d ms are %s", (milliseconds, text) => {
	expect(duration(milliseconds)).toBe(text);
});
