import { describe, expect, it } from "vitest";
import { finalStatus, flathub } from "./flathub.ts";

const app = "org.flathub.test.Hello";

/** Where each architecture is built. */
const workers = { x86_64: "builder-2", i386: "builder-1", aarch64: "codethink-1", arm: "codethink-2" } as const;

/** One push becomes four architectures, two of them from machines outside the data centre, and one publish. */
export function architectureTests(): void {
	describe("an app in C for four architectures", () => {
		it("is built by four workers, two of them outside the data centre, and published once", async () => {
			const { world, buildbot } = flathub;
			const { commit } = await world.pushSample(app);
			expect(await finalStatus(world, app, commit, "flathub/publish")).toBe("success");
			for (const architecture of Object.keys(workers)) {
				expect(await finalStatus(world, app, commit, `flathub/build-${architecture}`)).toBe("success");
			}
			const builds = await buildbot.builds(commit);
			const built = builds.filter(({ builder }) => builder.startsWith("build-"));
			expect(Object.fromEntries(built.map(({ builder, worker }) => [builder, worker]))).toEqual(
				Object.fromEntries(Object.entries(workers).map(([architecture, worker]) => [`build-${architecture}`, worker])),
			);
			expect(builds.filter(({ builder }) => builder.startsWith("publish"))).toHaveLength(1);
			const refs = (await flathub.on("repo", "ostree", "refs", "--repo=/srv/repo")).split("\n");
			expect(refs).toEqual(
				expect.arrayContaining(Object.keys(workers).map((architecture) => `app/${app}/${architecture}/stable`)),
			);
		}, 1_200_000);

		it.each(Object.keys(workers) as (keyof typeof workers)[])(
			"is installed and run by a user for %s",
			async (architecture) => {
				expect(await flathub.world.client.installAndRun(app, architecture)).toContain(`compiled for ${architecture}!`);
			},
		);
	});

	describe("an app with flathub.json", () => {
		it("is built and published for the architectures that it names only", async () => {
			const { world, buildbot } = flathub;
			const { commit } = await world.pushSample("org.gnu.hello");
			expect(await finalStatus(world, "org.gnu.hello", commit, "flathub/publish")).toBe("success");
			const built = (await buildbot.builds(commit))
				.map(({ builder }) => builder)
				.filter((name) => name.startsWith("build-"));
			expect(built.sort()).toEqual(["build-i386", "build-x86_64"]);
			const refs = await flathub.on("repo", "ostree", "refs", "--repo=/srv/repo");
			expect(refs).not.toContain("org.gnu.hello/aarch64");
		});
	});
}
