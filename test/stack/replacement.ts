import { describe, expect, it } from "vitest";
import { finalStatus, flathub, reopen } from "./flathub.ts";
import { failureOf, script } from "./script.ts";

/** Machines that are replaced keep what they must. */
export function replacementTests(): void {
	describe("a machine replaced on purpose", () => {
		it("repo keeps its refs", async () => {
			const refs = () => flathub.on("repo", "ostree", "refs", "--repo=/srv/repo");
			const [machineId, known] = [await flathub.on("repo", "cat", "/etc/machine-id"), await refs()];
			const replaced = await script("replace", "local", "repo");
			expect(failureOf(replaced)).toBe("");
			await reopen();
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
			await reopen();
			expect(await builds()).toEqual(expect.arrayContaining(known));
			const { commit } = await flathub.world.pushSample("org.flathub.test.Shell");
			expect(await finalStatus(flathub.world, "org.flathub.test.Shell", commit, "flathub/publish")).toBe("success");
		});
	});
}
