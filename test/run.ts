import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { execa, execaSync, type Options } from "execa";
import { z } from "zod";
import { localSettings } from "../local/settings.ts";
import { describeError, runCommand } from "../operations/command.ts";
import { projectDir } from "../project-dir.ts";

interface Count {
	passed: number;
	failed: number;
	skipped: number;
}

/** A suite counts its own tests; one that throws counts as one failure. */
interface Suite {
	name: string;
	run: () => Promise<Count>;
}

const reports = mkdtempSync(join(tmpdir(), "flathub-test-"));
const shown: Options = { cwd: projectDir, stdio: "inherit", preferLocal: true };

/** A program that passes or fails as a whole. */
const whole = (name: string, command: string, args: string[], options: Options = {}): Suite => ({
	name,
	run: async () => {
		await execa(command, args, { ...shown, ...options });
		return { passed: 1, failed: 0, skipped: 0 };
	},
});

const vitestReport = z.object({
	numPassedTests: z.number(),
	numFailedTests: z.number(),
	numPendingTests: z.number(),
	numTodoTests: z.number(),
});
const vitest = (project: string): Suite => ({
	name: `vitest ${project}`,
	run: async () => {
		const file = join(reports, `${project}.json`);
		const { exitCode } = await execa(
			"vitest",
			["run", "--project", project, "--reporter=default", "--reporter=json", `--outputFile.json=${file}`],
			{ ...shown, reject: false },
		);
		const report = vitestReport.parse(JSON.parse(readFileSync(file, "utf8")));
		// A file that can't even be loaded has no tests to fail.
		const failed = exitCode === 0 ? 0 : Math.max(1, report.numFailedTests);
		return { passed: report.numPassedTests, failed, skipped: report.numPendingTests + report.numTodoTests };
	},
});

const files = execaSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
	cwd: projectDir,
}).stdout.split("\n");

// cli/ only pins a tool of another module: there is nothing of its own to vet.
const goModules = files
	.filter((file) => file.endsWith("/go.mod"))
	.map(dirname)
	.filter((dir) => files.some((file) => file.startsWith(`${dir}/`) && file.endsWith(".go")))
	.map((dir) => join(projectDir, dir));
const goTest = (dir: string): Suite => ({
	name: `go test ${dir.slice(projectDir.length + 1)}`,
	run: async () => {
		await execa("go", ["vet", "./..."], { cwd: dir });
		const { stdout, stderr, exitCode } = await execa("go", ["test", "-json", "./..."], { cwd: dir, reject: false });
		const events = stdout
			.split("\n")
			.filter((line) => line.startsWith("{"))
			.map((line) => JSON.parse(line) as { Action: string; Test?: string; Output?: string });
		if (exitCode !== 0) process.stdout.write(`${stderr}\n${events.map(({ Output }) => Output ?? "").join("")}`);
		const count = (action: string) =>
			events.filter(({ Action, Test }) => Action === action && Test !== undefined).length;
		return { passed: count("pass"), failed: exitCode === 0 ? 0 : Math.max(1, count("fail")), skipped: count("skip") };
	},
});

/** A virtualenv with what the Python checks need, made once per content of requirements-dev.txt. */
async function pythonEnvironment(): Promise<string> {
	const requirements = join(projectDir, "services", "requirements-dev.txt");
	const key = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 16);
	const dir = join(localSettings().cacheDir, "python", key);
	// In place and not renamed when complete: the scripts in bin/ carry the folder's path.
	const complete = join(dir, ".complete");
	if (existsSync(complete)) return dir;
	rmSync(dir, { recursive: true, force: true });
	await execa("python3", ["-m", "venv", dir]);
	await execa(join(dir, "bin", "python"), ["-m", "pip", "install", "--quiet", "-r", requirements], {
		stdio: "inherit",
	});
	writeFileSync(complete, "");
	return dir;
}

const pytest: Suite = {
	name: "pytest",
	run: async () => {
		const python = join(await pythonEnvironment(), "bin", "python");
		const file = join(reports, "pytest.xml");
		const { exitCode } = await execa(
			python,
			// A file's tests stay together: they share what is slow to start.
			["-m", "pytest", "-q", "--numprocesses=auto", "--dist=loadfile", `--junitxml=${file}`, "services", "cloud-init"],
			{
				...shown,
				reject: false,
				env: { PYTHONDONTWRITEBYTECODE: "1" },
			},
		);
		const attribute = (name: string) =>
			Number(new RegExp(` ${name}="(\\d+)"`).exec(readFileSync(file, "utf8"))?.[1] ?? 0);
		const failed = attribute("failures") + attribute("errors");
		const skipped = attribute("skipped");
		return { passed: attribute("tests") - failed - skipped, failed: exitCode === 0 ? 0 : Math.max(1, failed), skipped };
	},
};

const ruff: Suite = {
	name: "ruff",
	run: async () => {
		await execa(
			join(await pythonEnvironment(), "bin", "ruff"),
			["check", "services", "cloud-init", "bench", "test"],
			shown,
		);
		return { passed: 1, failed: 0, skipped: 0 };
	},
};

const shellScripts = files.filter((file) => {
	if (!existsSync(join(projectDir, file))) return false; // deleted, but not yet in git's index
	return /^#!.*\b(ba|da)?sh\b/.test(readFileSync(join(projectDir, file), "utf8").split("\n", 1)[0] ?? "");
});

const fast: Suite[] = [
	whole("tsc", "tsc", ["--noEmit"]),
	whole("biome", "biome", ["check", "."]),
	whole("shellcheck", "shellcheck", shellScripts),
	ruff,
	vitest("unit"),
	pytest,
	...goModules.map(goTest),
];
const withMachines: Suite[] = [
	whole("engine", process.execPath, ["--import", "tsx", "engine/ensure.ts"]),
	vitest("host"),
	vitest("stack"),
];

await runCommand(async () => {
	const args = process.argv.slice(2);
	if (args.some((arg) => arg !== "--fast")) throw new Error("Usage: scripts/test [--fast]");
	const rows: [string, Count, number][] = [];
	for (const suite of args.includes("--fast") ? fast : [...fast, ...withMachines]) {
		console.log(`\n== ${suite.name}`);
		const start = performance.now();
		let count: Count;
		try {
			count = await suite.run();
		} catch (error) {
			console.error(describeError(error));
			count = { passed: 0, failed: 1, skipped: 0 };
		}
		rows.push([suite.name, count, (performance.now() - start) / 1000]);
	}
	rmSync(reports, { recursive: true, force: true });
	console.log("");
	for (const [name, { passed, failed, skipped }, seconds] of rows) {
		console.log(
			`${name.padEnd(28)} ${`${passed} passed, ${failed} failed, ${skipped} skipped`.padEnd(36)} ${seconds.toFixed(1).padStart(7)} s`,
		);
	}
	const total = (key: keyof Count) => rows.reduce((sum, [, count]) => sum + count[key], 0);
	process.exitCode = total("failed") === 0 ? 0 : 1;
	console.log(`${total("passed")} passed, ${total("failed")} failed, ${total("skipped")} skipped`);
});
