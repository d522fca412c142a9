import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { runCommand } from "../../operations/command.ts";
import { unlockLocalSigning } from "../../operations/local-flathub.ts";
import { poll } from "../../process/poll.ts";
import { finalStatus, flathub, reopen } from "../stack/flathub.ts";
import { cutPower, powerOn } from "../stack/machine-power.ts";
import { failureOf, script } from "../stack/script.ts";
import { watchServed } from "../stack/served.ts";
import { shellApp } from "../stack/shell-app.ts";
import { randomNumbers } from "./random.ts";

const machines = ["repo", "master", "front", "builder-1", "builder-2", "codethink-1", "codethink-2"] as const;
const victims = [...machines, "publisher"] as const;

/** The longest time from a push to the cut: by then a publish without trouble is over. */
const longestWaitSeconds = 15;

interface Round {
	victim: (typeof victims)[number];
	/** From the push to the cut, in seconds. */
	instant: number;
	/** What was under way at that moment. */
	atWork: string;
	/** From the cut to the published app, in seconds; null if it never came. */
	recovered: number | null;
	problem: string | null;
}

async function cut(victim: Round["victim"]): Promise<void> {
	if (victim === "publisher") {
		await flathub.access.ssh("repo", ["systemctl", "kill", "--signal=KILL", "publisher.service"], { mayFail: true });
		return;
	}
	await cutPower(flathub, victim);
	await powerOn(flathub, victim);
	await poll(`${victim}'s ssh`, 300, async () => {
		const { exitCode } = await flathub.access.ssh(victim, ["systemctl", "is-system-running", "--wait"], {
			mayFail: true,
		});
		// 255 is ssh's own: nobody answered. What failed on the machine is not asked here.
		return exitCode === 255 ? undefined : true;
	});
	if (victim === "repo") await unlockLocalSigning(flathub.stack);
}

async function playRound(number: number, random: () => number): Promise<Round> {
	const victim = victims[Math.floor(random() * victims.length)] ?? "publisher";
	const instant = random() * longestWaitSeconds;
	const round: Round = { victim, instant, atWork: "", recovered: null, problem: null };
	const app = `org.flathub.test.Soak${1 + Math.floor(random() * 5)}`;
	try {
		const { commit } = await flathub.world.push({ app, files: shellApp(app), message: `round ${number}` });
		// The instant is the point of the test: nothing is waited for.
		await pause(instant * 1000);
		const running = (await flathub.buildbot.builds(commit)).filter(({ complete }) => !complete);
		round.atWork = running.map(({ builder }) => builder).join(" ") || "nothing";
		const start = performance.now();
		await cut(victim);
		const state = await finalStatus(flathub.world, app, commit, "flathub/publish");
		if (state === "success") round.recovered = (performance.now() - start) / 1000;
		else round.problem = `flathub/publish is ${state}`;
	} catch (error) {
		round.problem = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
	}
	return round;
}

/** One app after the other would take all night: how long many at once take. */
async function massPush(apps: number): Promise<string> {
	const start = performance.now();
	const states = await Promise.all(
		Array.from({ length: apps }, async (_, index) => {
			const app = `org.flathub.test.Mass${index + 1}`;
			const { commit } = await flathub.world.push({ app, files: shellApp(app), message: "many at once" });
			return finalStatus(flathub.world, app, commit, "flathub/publish", 3600);
		}),
	);
	const published = states.filter((state) => state === "success").length;
	const seconds = (performance.now() - start) / 1000;
	if (published < apps) throw new Error(`${published} of ${apps} published`);
	return `all published after ${seconds.toFixed(0)} s`;
}

await runCommand(async () => {
	const { values } = parseArgs({
		options: {
			seed: { type: "string", default: String(Date.now() % 1_000_000) },
			rounds: { type: "string", default: "20" },
			apps: { type: "string", default: "30" },
		},
	});
	const [seed, rounds, apps] = [values.seed, values.rounds, values.apps].map(Number);
	if (!seed || !rounds || !apps)
		throw new Error("Usage: scripts/soak [--seed N] [--rounds N] [--apps N], whole numbers");
	console.log(`seed ${seed}, ${rounds} rounds`);
	const up = await script("up", "local");
	if (up.exitCode !== 0) throw new Error(failureOf(up));
	await reopen();
	const random = randomNumbers(seed);
	const endWatch = await watchServed(flathub.outputs.publicAddress);
	const played: Round[] = [];
	for (let number = 1; number <= rounds; number++) {
		const round = await playRound(number, random);
		played.push(round);
		const became = round.problem ?? `published ${round.recovered?.toFixed(0)} s after the cut`;
		console.log(
			`${String(number).padStart(3)}  ${round.victim.padEnd(12)} ${round.instant.toFixed(1).padStart(5)} s after the push, at work: ${round.atWork}; ${became}`,
		);
	}
	const problems = played.flatMap(({ problem }, index) => (problem === null ? [] : [`round ${index + 1}: ${problem}`]));
	/** What fails is one more line of the report, not its end. */
	const outcome = async (what: string, run: () => Promise<string>) => {
		try {
			return `${what}: ${await run()}`;
		} catch (error) {
			problems.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
			return `${what}: see below`;
		}
	};
	const mass = await outcome(`${apps} apps pushed at once`, () => massPush(apps));
	const seen = await endWatch();
	problems.push(...seen.faults);
	if (seen.verified === 0) problems.push("no summary was seen through front");
	const fsck = await outcome("ostree fsck", async () => {
		await flathub.on("repo", "runuser", "-u", "publisher", "--", "ostree", "fsck", "--quiet", "--repo=/srv/repo");
		return "clean";
	});
	const update = await outcome("the user's update", async () => {
		const { exitCode, stderr } = await flathub.world.client.run(["flatpak", "update", "--user", "--noninteractive"]);
		if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${stderr}`);
		return "done";
	});
	const recovered = played.flatMap((round) => round.recovered ?? []).toSorted((a, b) => a - b);
	console.log(mass);
	console.log(
		`from a cut to the published app: median ${recovered[Math.floor(recovered.length / 2)]?.toFixed(0)} s, longest ${recovered.at(-1)?.toFixed(0)} s`,
	);
	console.log(
		`summaries seen through front: ${seen.verified} verified, ${seen.unreachable} times nobody answered, ${seen.faults.length} not verifiable`,
	);
	console.log(`${fsck}\n${update}`);
	console.log(problems.length === 0 ? "no problem" : problems.join("\n"));
	flathub.access.close();
	if (problems.length > 0) process.exitCode = 1;
});
