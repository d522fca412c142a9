import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { execa } from "execa";
import { z } from "zod";
import { cachedDirectory, recipeKey } from "../local/cached-directory.ts";
import { readHostFacts } from "../local/debian/host-facts.ts";
import { makeDebianRoot } from "../local/debian/root.ts";
import { localSettings } from "../local/settings.ts";
import { runCommand } from "../operations/command.ts";
import { withLock } from "../process/lock.ts";
import { projectDir } from "../project-dir.ts";

/** What the repository machine has of this, in the same versions. */
const system = { suite: "trixie", packages: ["flatpak", "ostree", "gnupg", "gpg-agent", "python3", "rsync"] } as const;

/** To be raised when a repository made before is not like those made now. */
const repositoryVersion = 1;

const usage = "usage: bench/publish [--refs 100,1000,4000] [--rounds 5] [--json]";

/** One publish, as bench/publish/measure.py prints it: seconds from its start, seconds of processor time, MiB. */
const figuresSchema = z.strictObject({
	installable: z.number(),
	listed: z.number(),
	cpu: z.number(),
	largest_process_mib: z.number(),
	all_processes_mib: z.number(),
	stages: z.record(z.string(), z.number()),
});
const comparisonSchema = z.strictObject({
	refs: z.number(),
	plain: z.array(figuresSchema),
	publisher: z.array(figuresSchema),
});
type Figures = z.infer<typeof figuresSchema>;
type Comparison = z.infer<typeof comparisonSchema>;

/** Mounts what the measuring program needs below the root ($0) and runs it there. */
const enter = `
mount --make-rprivate /
mkdir -p "$0/bench" "$0/project"
mount --bind "$1" "$0/bench"
mount --bind "$2" "$0/project"
mount -o remount,bind,ro "$0/project"
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
mount -t tmpfs none "$0/run"
root=$0
shift 2
exec chroot "$root" "$@"`;

/** The measuring program in a root with the machines' programs; `directory` is at /bench there. */
async function measure(root: string, directory: string, ...args: string[]): Promise<string> {
	const { stdout } = await execa(
		"setpriv",
		[
			// However this process ends, nothing of the measuring program goes on.
			...["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--"],
			...["sh", "-euc", enter, root, directory, projectDir],
			...["python3", "-B", "/project/bench/publish/measure.py", ...args],
		],
		{
			stderr: "inherit",
			env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LC_ALL: "C.UTF-8" },
			extendEnv: false,
		},
	);
	return stdout;
}

const median = (values: readonly number[]): number =>
	values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

const mediansOf = (figures: readonly Figures[]) => ({
	installable: median(figures.map(({ installable }) => installable)),
	listed: median(figures.map(({ listed }) => listed)),
	cpu: median(figures.map(({ cpu }) => cpu)),
	largestProcessMib: median(figures.map(({ largest_process_mib }) => largest_process_mib)),
	allProcessesMib: median(figures.map(({ all_processes_mib }) => all_processes_mib)),
});

/** Median over the rounds of one side's figure divided by the other's in the same round. */
const ratio = ({ plain, publisher }: Comparison, phase: "installable" | "listed"): number =>
	median(publisher.map((figures, round) => figures[phase] / (plain[round]?.listed ?? Number.NaN)));

function printTable(comparisons: readonly Comparison[], rounds: number): void {
	console.log(`one new version of an app of four architectures; ${rounds} rounds in turn, medians`);
	console.log("  refs  side       installable    listed  processor  largest process  all processes");
	for (const comparison of comparisons) {
		for (const side of ["plain", "publisher"] as const) {
			const { installable, listed, cpu, largestProcessMib, allProcessesMib } = mediansOf(comparison[side]);
			console.log(
				[
					`${String(comparison.refs).padStart(6)}  ${side.padEnd(9)}`,
					`${installable.toFixed(2).padStart(9)} s`,
					`${listed.toFixed(2).padStart(6)} s`,
					`${cpu.toFixed(2).padStart(7)} s`,
					`${largestProcessMib.toFixed(0).padStart(11)} MiB`,
					`${allProcessesMib.toFixed(0).padStart(9)} MiB`,
				].join("  "),
			);
		}
	}
	for (const comparison of comparisons) {
		const memory = mediansOf(comparison.publisher).largestProcessMib / mediansOf(comparison.plain).largestProcessMib;
		const aims = comparison.refs === 4000 ? ["; aim: at most 0.125", "; aim: at most 0.50", "; aim: at most 1.00"] : [];
		console.log(`at ${comparison.refs} refs, to the plain sequence:`);
		console.log(`  installable     ${ratio(comparison, "installable").toFixed(3)}${aims[0] ?? ""}`);
		console.log(`  both phases     ${ratio(comparison, "listed").toFixed(2)}${aims[1] ?? ""}`);
		console.log(`  largest process ${memory.toFixed(2)}${aims[2] ?? ""}`);
	}
	const [small, large] = [100, 4000].map((refs) => comparisons.find((comparison) => comparison.refs === refs));
	if (small !== undefined && large !== undefined) {
		const growth = mediansOf(large.publisher).installable / mediansOf(small.publisher).installable;
		console.log(`installable at 4000 refs to that at 100: ${growth.toFixed(2)}; aim: at most 3.00`);
	}
	const last = comparisons.at(-1);
	if (last === undefined) return;
	console.log(`stages of the publisher at ${last.refs} refs, those of 10 ms and more:`);
	for (const name of Object.keys(last.publisher[0]?.stages ?? {})) {
		const seconds = median(last.publisher.map(({ stages }) => stages[name] ?? 0));
		if (seconds >= 0.01) console.log(`  ${name.padEnd(20)} ${seconds.toFixed(2)} s`);
	}
}

/** @throws Error for a text that is no whole number from `least` */
function wholeNumber(name: string, text: string, least: number): number {
	if (!/^\d{1,6}$/.test(text) || Number(text) < least) {
		throw new Error(`${name} is ${JSON.stringify(text)}; expected a whole number from ${least}.\n${usage}`);
	}
	return Number(text);
}

await runCommand(async () => {
	const { values } = parseArgs({
		options: {
			refs: { type: "string", default: "100,1000,4000" },
			rounds: { type: "string", default: "5" },
			json: { type: "boolean", default: false },
		},
	});
	const sizes = values.refs.split(",").map((text) => wholeNumber("--refs", text, 16));
	const rounds = wholeNumber("--rounds", values.rounds, 1);
	const say = (message: string) => process.stderr.write(`${message}\n`);
	const directory = join(localSettings().cacheDir, "bench");
	const facts = await readHostFacts();
	const root = await cachedDirectory(
		join(directory, `root-${recipeKey([system, facts])}`),
		async (building) => {
			say(`making a root of Debian's ${system.suite} (half a minute)`);
			await makeDebianRoot({ ...system, directory: building, variant: "minbase", updates: true }, facts);
		},
		() => say("another process is making the root; waiting for it"),
	);
	const repositories = new Map<number, string>();
	for (const refs of sizes) {
		const name = `repository-${refs}-${recipeKey([repositoryVersion, system])}`;
		await cachedDirectory(
			join(directory, name),
			async () => {
				say(`making a signed, settled repository of ${refs} refs, once (${Math.ceil(refs / 600)} minutes)`);
				await measure(root, directory, "make", `/bench/${name}.building`, String(refs));
			},
			() => say("another process is making a repository; waiting for it"),
		);
		repositories.set(refs, name);
	}
	const comparisons: Comparison[] = [];
	const work = join(directory, "run");
	await withLock(
		join(directory, "run.lock"),
		3600,
		() => say("another process is measuring; waiting for it"),
		async () => {
			for (const [refs, name] of repositories) {
				// What a killed run left is not wanted either.
				rmSync(work, { recursive: true, force: true });
				mkdirSync(work);
				const args = [`/bench/${name}`, "/bench/run", String(refs), String(rounds)];
				comparisons.push(comparisonSchema.parse(JSON.parse(await measure(root, directory, "compare", ...args))));
			}
			rmSync(work, { recursive: true, force: true });
		},
	);
	if (values.json) console.log(JSON.stringify(comparisons));
	else printTable(comparisons, rounds);
});
