import { describe, expect, it } from "vitest";
import { poll } from "../../process/poll.ts";
import { finalStatus, flathub } from "./flathub.ts";

/** From a push to an installed app. */
export function pushTests(): void {
	describe("a push", () => {
		it("to the default branch publishes both architectures, and the client verifies the signature", async () => {
			const { world } = flathub;
			const { commit } = await world.pushSample("org.flathub.test.Shell");
			expect(await finalStatus(world, "org.flathub.test.Shell", commit, "flathub/publish")).toBe("success");
			const refs = await flathub.on("repo", "ostree", "refs", "--repo=/srv/repo");
			expect(refs.split("\n")).toContain("app/org.flathub.test.Shell/x86_64/stable");
			expect(refs.split("\n")).toContain("app/org.flathub.test.Shell/i386/stable");
			const remote = await world.client.run(["flatpak", "remote-ls", "--user", "--arch=*", "--columns=ref", "flathub"]);
			expect(remote.stdout).toContain("org.flathub.test.Shell/x86_64/stable");
			const install = await world.client.run([
				"flatpak",
				"install",
				"--user",
				"--noninteractive",
				"flathub",
				"org.flathub.test.Shell",
			]);
			expect([install.exitCode, install.stderr]).toEqual([0, expect.not.stringContaining("error")]);
			const verified = await world.client.run([
				"ostree",
				"--repo=/home/user/.local/share/flatpak/repo",
				"show",
				"--gpg-verify-remote=flathub",
				"flathub:app/org.flathub.test.Shell/x86_64/stable",
			]);
			expect(verified.stdout).toMatch(/Good signature from "Flathub local/);
		});

		it("comes from the name that the repository has for itself, which the client keeps", async () => {
			const { client } = flathub.world;
			const { stdout } = await client.run(["flatpak", "remotes", "--user", "--columns=name,url"]);
			const remotes = Object.fromEntries(stdout.split("\n").map((line) => line.split(/\s+/, 2)));
			expect(remotes).toMatchObject({ flathub: "http://dl.flathub.test/repo/" });
		});

		it("is listed soon after: a user who searches finds it", async () => {
			const { client } = flathub.world;
			await poll(
				"the app in a user's list",
				180,
				async () => {
					await client.run(["flatpak", "update", "--user", "--appstream", "--noninteractive"]);
					const search = await client.run(["flatpak", "search", "--user", "--columns=application", "greeting"]);
					return search.stdout.includes("org.flathub.test.Shell") ? true : undefined;
				},
				2,
			);
		});

		it("serves the i386 build, which a client can verify, install and run", async () => {
			// An x86_64 flatpak does not offer an i386 ref that exists for x86_64 too (its summary index holds only what fits
			// the machine best), so the ref is pulled with ostree, verified, and installed from a bundle.
			const client = async (...command: string[]) => {
				const { exitCode, stdout, stderr } = await flathub.world.client.run(command);
				expect([command, exitCode, stderr]).toEqual([command, 0, expect.any(String)]);
				return stdout;
			};
			const repo = "/home/user/i386";
			await client("rm", "-rf", repo);
			await client("ostree", "init", `--repo=${repo}`, "--mode=archive");
			await client(
				"curl",
				"--silent",
				"--fail",
				"--output",
				`${repo}/flathub.flatpakrepo`,
				"http://dl.flathub.test/repo/flathub.flatpakrepo",
			);
			await client("sh", "-c", `sed -n s/^GPGKey=//p ${repo}/flathub.flatpakrepo | base64 -d > ${repo}/key.gpg`);
			await client(
				"ostree",
				`--repo=${repo}`,
				"remote",
				"add",
				`--gpg-import=${repo}/key.gpg`,
				"flathub",
				"http://dl.flathub.test/repo/",
			);
			await client("ostree", `--repo=${repo}`, "pull", "--mirror", "flathub", "app/org.gnu.hello/i386/stable");
			await client("flatpak", "build-bundle", "--arch=i386", repo, `${repo}/hello.flatpak`, "org.gnu.hello", "stable");
			await client(
				"flatpak",
				"install",
				"--user",
				"--noninteractive",
				"--or-update",
				"--bundle",
				`${repo}/hello.flatpak`,
			);
			expect((await client("flatpak", "run", "--user", "--arch=i386", "org.gnu.hello")).trim()).toBe("Hello, world!");
		});

		it("to another branch builds nothing, and a broken manifest publishes nothing and says so on the commit", async () => {
			const { world } = flathub;
			const other = await world.pushSample("org.flathub.test.Shell", { branch: "experiment" });
			const published = () =>
				flathub.on("repo", "ostree", "rev-parse", "--repo=/srv/repo", "app/org.flathub.test.Shell/x86_64/stable");
			const before = await published();
			const broken = await world.pushSample("org.flathub.test.Shell", { broken: true });
			expect(await finalStatus(world, "org.flathub.test.Shell", broken.commit, "flathub/build-x86_64")).toBe("failure");
			expect(await published()).toBe(before);
			// The later push has come to its end, and the earlier one, to the branch, has no status at all.
			expect(await world.statuses("org.flathub.test.Shell", other.commit)).toEqual([]);
		});
	});
}
