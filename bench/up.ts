import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { runCommand } from "../operations/command.ts";
import { openStack, type Stack } from "../operations/stack.ts";
import { projectDir } from "../project-dir.ts";

/** Counted runs of each side, in turn, after one that is not counted. */
const runs = 5;

/** A Pulumi program without resources beside the same engine and the same kind of backend. */
async function emptyStack(dir: string, program: string, stack: Stack): Promise<() => Promise<void>> {
	mkdirSync(join(dir, "backend"), { recursive: true });
	const env = { ...stack.env, PULUMI_BACKEND_URL: `file://${join(dir, "backend")}` };
	writeFileSync(
		join(dir, "Pulumi.yaml"),
		readFileSync(join(projectDir, "Pulumi.yaml"), "utf8").replace(/^name: .*$/m, "name: empty"),
	);
	writeFileSync(join(dir, "package.json"), '{ "type": "module", "main": "index.ts" }');
	writeFileSync(join(dir, "index.ts"), program);
	symlinkSync(join(projectDir, "node_modules"), join(dir, "node_modules"));
	const pulumi = (...args: string[]) => execa("pulumi", ["-C", dir, ...args], { env, extendEnv: false });
	await pulumi("stack", "init", "empty", "--no-select");
	return async () => {
		await pulumi("up", "--yes", "--skip-preview", "--stack", "empty");
	};
}

async function seconds(body: () => Promise<unknown>): Promise<number> {
	const start = performance.now();
	await body();
	return (performance.now() - start) / 1000;
}

const median = (values: number[]): number =>
	values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Proportional set size, in MiB, of the machines and of what stands around them on the host. */
function idleMemoryMib(): number {
	const processes = new Map<number, { parent: number; commandLine: string }>();
	for (const entry of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
		try {
			const stat = readFileSync(`/proc/${entry}/stat`, "utf8");
			const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
			processes.set(Number(entry), { parent, commandLine: readFileSync(`/proc/${entry}/cmdline`, "utf8") });
		} catch {} // ended meanwhile
	}
	const belongs = (pid: number): boolean => {
		const found = processes.get(pid);
		if (found === undefined || pid <= 1) return false;
		return (
			/systemd-nspawn|flathub-local|local\/cloud\/daemon|local\/world/.test(found.commandLine) || belongs(found.parent)
		);
	};
	let kib = 0;
	for (const pid of processes.keys()) {
		if (!belongs(pid)) continue;
		try {
			kib += Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0);
		} catch {}
	}
	return kib / 1024;
}

await runCommand(async () => {
	const stack = await openStack("local");
	const dir = mkdtempSync(join(tmpdir(), "flathub-bench-"));
	try {
		// What every program pays for importing Pulumi's SDK, and what the engine alone takes.
		const empty = await emptyStack(join(dir, "empty"), 'import "@pulumi/pulumi";\n', stack);
		const bare = await emptyStack(join(dir, "bare"), "export {};\n", stack);
		const flathub = async () => {
			await stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes", ...stack.configArguments]);
		};
		await Promise.all([empty(), bare()]);
		await flathub();
		const rounds: [number, number, number][] = [];
		for (let run = 0; run < runs; run++) {
			rounds.push([await seconds(flathub), await seconds(empty), await seconds(bare)]);
		}
		console.log(`no-op up, ${runs} rounds in turn, medians; aim: at most 1.5 times the empty program`);
		console.log(`  flathub                          ${median(rounds.map(([a]) => a)).toFixed(2)} s`);
		console.log(`  empty, imports @pulumi/pulumi    ${median(rounds.map(([, b]) => b)).toFixed(2)} s`);
		console.log(`  empty, imports nothing           ${median(rounds.map(([, , c]) => c)).toFixed(2)} s`);
		console.log(`  ratio to the first               ${median(rounds.map(([a, b]) => a / b)).toFixed(2)}`);
		console.log(`  ratio to the second              ${median(rounds.map(([a, , c]) => a / c)).toFixed(2)}`);
		console.log(
			`memory of the idle local Flathub: ${idleMemoryMib().toFixed(0)} MiB (proportional set size); aim: at most 4096`,
		);
		console.log("the stages of a first and a second `scripts/up local` are printed by the script itself");
	} finally {
		rmSync(dir, { recursive: true, force: true });
	}
});
