import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { localSettings } from "../../local/settings.ts";
import { poll } from "../../process/poll.ts";
import { flathub, reopen } from "./flathub.ts";
import { script } from "./script.ts";

/** The stack comes up, also after an `up` that was killed. */
export function upTests(): void {
	describe("scripts/up local", () => {
		it("that is killed in the middle says what happened", async () => {
			const pulumiDir = `${localSettings().stateDir}/pulumi`;
			const up = script("up", "local");
			const pid = await poll("a server of the first up", 1500, () => {
				const log = `${localSettings().stateDir}/pulumi-up.log`;
				if (!existsSync(log) || !/Server \S+ created/.test(readFileSync(log, "utf8"))) return undefined;
				const [lock] = readdirSync(`${pulumiDir}/backend/.pulumi/locks`, { recursive: true, encoding: "utf8" })
					.filter((file) => file.endsWith(".json"))
					.map((file) => JSON.parse(readFileSync(`${pulumiDir}/backend/.pulumi/locks/${file}`, "utf8")));
				return lock.pid as number;
			});
			process.kill(pid, "SIGKILL");
			const { exitCode, all } = await up;
			expect(exitCode).not.toBe(0);
			expect(all).toContain("ended by SIGKILL");
		}, 1_800_000);

		it("is run again, recovers, and ends with an app that a Flatpak user installed and ran", async () => {
			const up = await script("up", "local");
			expect(up.all).toContain("was killed in the middle of a change: releasing its lock");
			expect(up.all).toContain("says: Hello, world!");
			expect(up.exitCode).toBe(0);
			await reopen();
		}, 2_400_000);

		it("changes nothing when the stack is brought up again", async () => {
			const { exitCode, stdout } = await flathub.stack.pulumi([
				"up",
				"--yes",
				"--skip-preview",
				"--expect-no-changes",
				...flathub.stack.configArguments,
			]);
			expect(stdout).toMatch(/unchanged/);
			expect(exitCode).toBe(0);
		});
	});
}
