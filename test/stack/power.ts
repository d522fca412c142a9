import { describe, expect, it } from "vitest";
import { unlockLocalSigning } from "../../operations/local-flathub.ts";
import { poll } from "../../process/poll.ts";
import { finalStatus, flathub } from "./flathub.ts";
import { cutPower, powerOn } from "./machine-power.ts";
import { type Seen, watchServed } from "./served.ts";

const shell = "org.flathub.test.Shell";

/** Waits until a builder of the commit is at work: its power is cut in the middle of that. */
const underWay = (commit: string, builder: RegExp) =>
	poll(`a build of ${commit.slice(0, 8)} on ${builder}`, 300, async () =>
		(await flathub.buildbot.builds(commit)).find((build) => builder.test(build.builder) && !build.complete),
	);

/** Machines lose their power at work: nothing unverifiable is served, and what was pushed is published. */
export function powerTests(): void {
	describe("a power cut", () => {
		let endWatch: () => Promise<Seen>;

		it("of a builder: the build is done again", async () => {
			endWatch = await watchServed(flathub.outputs.publicAddress);
			const { commit } = await flathub.world.pushSample(shell);
			await underWay(commit, /^build-i386/);
			await cutPower(flathub, "builder-1");
			await powerOn(flathub, "builder-1");
			expect(await finalStatus(flathub.world, shell, commit, "flathub/publish")).toBe("success");
		}, 1_800_000);

		it("of a remote builder: the build is done again", async () => {
			const { commit } = await flathub.world.pushSample(shell);
			await underWay(commit, /^build-aarch64/);
			await cutPower(flathub, "codethink-1");
			await powerOn(flathub, "codethink-1");
			expect(await finalStatus(flathub.world, shell, commit, "flathub/publish")).toBe("success");
		}, 1_800_000);

		it("of the master: its builds are done again, and a push that it missed is found", async () => {
			const { world } = flathub;
			const { commit } = await world.pushSample(shell);
			await underWay(commit, /^build-/);
			await cutPower(flathub, "master");
			// Like GitHub itself, which does not try a delivery again.
			await world.loseDeliveries(true);
			const missed = await world.pushSample("org.gnu.hello");
			await world.loseDeliveries(false);
			await powerOn(flathub, "master");
			expect(await finalStatus(world, shell, commit, "flathub/publish")).toBe("success");
			expect(await finalStatus(world, "org.gnu.hello", missed.commit, "flathub/publish")).toBe("success");
		}, 1_800_000);

		it("of repo: publishing waits for the passphrase, which everybody can see, and then goes on", async () => {
			const { world, stack, outputs } = flathub;
			const { commit } = await world.pushSample(shell);
			await underWay(commit, /^publish/);
			await cutPower(flathub, "repo");
			await powerOn(flathub, "repo");
			const status = async (name: string) =>
				(await (await fetch(`http://${outputs.publicAddress}/status/${name}.json`)).json()) as Record<string, unknown>;
			await poll("the locked key in the published state", 300, async () =>
				(await status("signing")).state === "locked" ? true : undefined,
			);
			await unlockLocalSigning(stack);
			expect(await finalStatus(world, shell, commit, "flathub/publish")).toBe("success");
			expect((await status("signing")).state).toBe("ok");
		}, 1_800_000);

		it("left the repository whole, and showed nobody what can't be verified", async () => {
			const seen = await endWatch();
			expect(seen.faults).toEqual([]);
			expect(seen.verified).toBeGreaterThan(50);
			await flathub.on("repo", "runuser", "-u", "publisher", "--", "ostree", "fsck", "--quiet", "--repo=/srv/repo");
			const ref = `app/${shell}/x86_64/stable`;
			const { client } = flathub.world;
			const update = await client.run(["flatpak", "update", "--user", "--noninteractive", ref]);
			expect([update.exitCode, update.stderr]).toEqual([0, ""]);
			const published = await flathub.on("repo", "ostree", "rev-parse", "--repo=/srv/repo", ref);
			const installed = await client.run(["flatpak", "info", "--user", "--show-commit", ref]);
			expect(installed.stdout.trim()).toBe(published.trim());
		}, 600_000);
	});

	describe("a publisher that is killed", () => {
		it("does its work again", async () => {
			const { world } = flathub;
			const { commit } = await world.pushSample(shell);
			// On the machine itself: over SSH each question would take longer than a publish.
			const atWork = `python3 -c 'import json; exit(not json.load(open("/srv/status/publisher.json"))["publishing"])'`;
			const kill = "systemctl kill --signal=KILL publisher.service";
			await flathub.on("repo", "timeout", "300", "bash", "-c", `until ${atWork}; do sleep 0.05; done; ${kill}`);
			expect(await finalStatus(world, shell, commit, "flathub/publish")).toBe("success");
		}, 1_200_000);
	});
}
