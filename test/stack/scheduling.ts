import { describe, expect, it } from "vitest";
import { poll } from "../../process/poll.ts";
import { finalStatus, flathub } from "./flathub.ts";
import { shellApp } from "./shell-app.ts";

const shell = "org.flathub.test.Shell";

/** Many apps at once, and many commits of one. */
export function schedulingTests(): void {
	describe("ten apps that are pushed at once", () => {
		it("are all built for every architecture and published, and a user sees them", async () => {
			const { world } = flathub;
			const apps = Array.from({ length: 10 }, (_, index) => `org.flathub.test.Many${index + 1}`);
			const pushed = await Promise.all(
				apps.map(async (app) => ({
					app,
					...(await world.push({ app, files: shellApp(app), message: "first version" })),
				})),
			);
			const states = await Promise.all(
				pushed.map(async ({ app, commit }) => [app, await finalStatus(world, app, commit, "flathub/publish", 2400)]),
			);
			expect(states).toEqual(apps.map((app) => [app, "success"]));
			const { stdout } = await world.client.run(["flatpak", "remote-ls", "--user", "--columns=application", "flathub"]);
			expect(stdout.split("\n")).toEqual(expect.arrayContaining(apps));
		}, 3_000_000);
	});

	describe("three commits of one app in quick succession", () => {
		it("publish the first and the last; the one that waited says that it was superseded", async () => {
			const { world, buildbot } = flathub;
			const first = await world.pushSample(shell);
			await poll("the first commit's builds", 300, async () =>
				(await buildbot.builds(first.commit)).find(({ builder }) => builder.startsWith("build-")),
			);
			const second = await world.pushSample(shell);
			const third = await world.pushSample(shell);
			expect(await finalStatus(world, shell, third.commit, "flathub/publish")).toBe("success");
			expect(await finalStatus(world, shell, first.commit, "flathub/publish")).toBe("success");
			const superseded = await poll("the final status of the commit that waited", 60, async () =>
				(await world.statuses(shell, second.commit)).find(({ state }) => state !== "pending"),
			);
			expect(superseded.state).not.toBe("success");
			expect(superseded.description).toContain("uperseded");
			const built = (await buildbot.builds(second.commit)).filter(({ builder }) => builder.startsWith("build-"));
			expect(built).toEqual([]);
		}, 1_200_000);
	});

	describe("a build that is stuck", () => {
		it("is stopped by an operator: nothing of it goes on, and the commit says so", async () => {
			const app = "org.flathub.test.Stuck";
			const files = shellApp(app);
			const manifest = JSON.parse(String(files[`${app}.json`]));
			manifest.modules[0]["build-commands"].unshift("sleep 3000");
			const { commit } = await flathub.world.push({
				app,
				files: {
					...files,
					[`${app}.json`]: JSON.stringify(manifest),
					"flathub.json": JSON.stringify({ "only-arches": ["x86_64"] }),
				},
				message: "sleep",
			});
			const processes = async () =>
				(await flathub.access.ssh("builder-2", ["pgrep", "--uid", "build", "--full", "sleep 3000"], { mayFail: true }))
					.stdout;
			await poll("the sleeping build", 300, async () => ((await processes()) === "" ? undefined : true));

			const stopBuild = "/opt/flathub/current/role/stop-build";
			const number = /^(\d+) flathub\/org\.flathub\.test\.Stuck /m.exec(await flathub.on("master", stopBuild))?.[1];
			if (number === undefined) throw new Error("stop-build does not list the stuck build");
			expect(await flathub.on("master", stopBuild, number)).toContain(app);
			expect(await finalStatus(flathub.world, app, commit, "flathub/publish")).toBe("error");
			await poll("the end of its processes", 60, async () => ((await processes()) === "" ? true : undefined));
			expect(await flathub.on("builder-2", "ls", "/var/lib/build/builds")).toBe("");
			expect(await flathub.on("master", stopBuild)).toBe("nothing is under way");
		});
	});
}
