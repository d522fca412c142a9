import { parseArgs } from "node:util";
import type { Build, Step } from "../local/world/buildbot.ts";
import { runCommand } from "../operations/command.ts";
import { poll } from "../process/poll.ts";
import { finalStatus, flathub, reopen } from "../test/stack/flathub.ts";

/** An app without anything to compile: what is left is the pipeline's own. */
const app = "org.flathub.test.Shell";

/** Seconds by stage, in the order of the pipeline. */
type Stages = Map<string, number>;

const span = ({ started, ended }: { started: number | null; ended: number | null }) => (ended ?? 0) - (started ?? 0);

/** What the stages of a build with these names say they took, together. */
async function stageSeconds(steps: readonly Step[], names: readonly string[]): Promise<number> {
	const step = steps.find(({ name }) => name === "build");
	if (step === undefined) throw new Error("a build without a step called build");
	const log = await flathub.buildbot.log(step.id);
	const took = [...log.matchAll(/run-build: (\w+) took ([0-9.]+) s/g)].filter(([, name]) => names.includes(name ?? ""));
	if (took.length !== names.length) throw new Error(`the build's log does not say what ${names.join(" and ")} took`);
	return took.reduce((sum, [, , seconds]) => sum + Number(seconds), 0);
}

/** Pushes once, and takes apart what the commit's slowest architecture and its publish did. */
async function round(): Promise<Stages> {
	const repo = `http://${flathub.outputs.publicAddress}/repo`;
	const index = async () => {
		const response = await fetch(`${repo}/summary.idx`, { cache: "no-store" });
		return Buffer.from(await response.arrayBuffer()).toString("base64");
	};
	// What was published before is listed with a summary of its own: that must have come.
	await poll("the publisher to have nothing to do", 900, async () => {
		const status = await (await fetch(`http://${flathub.outputs.publicAddress}/status/publisher.json`)).json();
		return (status as { phase: string }).phase === "idle" ? true : undefined;
	});
	const before = await index();
	const { commit } = await flathub.world.pushSample(app);
	const pushed = Date.now();
	// One app at a time: the first summary that is different has it.
	await poll("a new summary", 900, async () => ((await index()) === before ? undefined : true), 0.1);
	const total = (Date.now() - pushed) / 1000;
	const state = await finalStatus(flathub.world, app, commit, "flathub/publish");
	if (state !== "success") throw new Error(`${app} ${commit}: flathub/publish is ${state}`);

	const builds = await flathub.buildbot.builds(commit);
	const slowest = builds
		.filter(({ builder }) => builder.startsWith("build-"))
		.reduce((a: Build, b: Build) => ((a.ended ?? 0) >= (b.ended ?? 0) ? a : b));
	const publish = builds.find(({ builder }) => builder.startsWith("publish"));
	if (publish === undefined) throw new Error(`${commit} was published without a build of publish`);
	const buildSteps = await flathub.buildbot.steps(slowest.id);
	const publishSteps = await flathub.buildbot.steps(publish.id);
	const checkout = await stageSeconds(buildSteps, ["checkout"]);
	const flatpakBuilder = await stageSeconds(buildSteps, ["fetch", "build"]);
	const step = (steps: readonly Step[], pattern: RegExp) =>
		steps.filter(({ name }) => pattern.test(name)).reduce((sum, one) => sum + span(one), 0);
	return new Map([
		["push to the start of the slowest build", slowest.started - pushed / 1000],
		[`checkout (${slowest.builder})`, checkout],
		["room, checks, packing", step(buildSteps, /^(make room|build)$/) - checkout - flatpakBuilder],
		["checksum and upload to the master", step(buildSteps, /^(measure|upload|clean up)/)],
		["from the slowest build to the publish", publish.started - (slowest.ended ?? 0)],
		["download to repo", step(publishSteps, /^(?!publish$|clean up$)/)],
		["publisher, until it answers", step(publishSteps, /^publish$/)],
		["flatpak-builder (not counted)", flatpakBuilder],
		["push to installable", total],
		["overhead: all but flatpak-builder", total - flatpakBuilder],
	]);
}

const median = (values: number[]): number =>
	values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

await runCommand(async () => {
	const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" }, json: { type: "boolean" } } });
	const count = Number(values.rounds);
	if (!Number.isInteger(count) || count < 1)
		throw new Error(`--rounds is ${values.rounds}, expected a whole number from 1`);
	await reopen();
	const rounds: Stages[] = [];
	for (let number = 0; number < count; number++) rounds.push(await round());
	const names = [...(rounds[0]?.keys() ?? [])].map((name) => name.replace(/ \(build-.*\)/, ""));
	const rows = names.map(
		(name, index) => [name, median(rounds.map((stages) => [...stages.values()][index] ?? 0))] as const,
	);
	if (values.json) {
		console.log(JSON.stringify({ rounds: count, seconds: Object.fromEntries(rows) }));
	} else {
		console.log(`${app}, four architectures, ${count} rounds, medians in seconds; Buildbot's times are whole seconds`);
		for (const [name, seconds] of rows) console.log(`  ${name.padEnd(42)} ${seconds.toFixed(1).padStart(6)}`);
		console.log("aim: at most 60 s of overhead on 2 cores");
	}
	flathub.access.close();
});
