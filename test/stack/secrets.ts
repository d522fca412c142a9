import { readFileSync } from "node:fs";
import { execa } from "execa";
import { describe, expect, it } from "vitest";
import { localSettings } from "../../local/settings.ts";
import { flathub } from "./flathub.ts";

/** No secret where it can be read. */
export function secretTests(): void {
	describe("secrets", () => {
		it("stand in clear neither in the state, nor in the logs, nor in a command line", async () => {
			const { stack, outputs } = flathub;
			const config = async (key: string) =>
				(await stack.pulumi(["config", "get", key, ...stack.configArguments])).stdout;
			const secrets: Record<string, string> = {
				"deploy key": outputs.deployKey.split("\n")[2] ?? "",
				"change hook's secret": outputs.changeHookSecret,
				"signing passphrase": await config("local:signingPassphrase"),
				"signing key": (await config("flathub:signingKey")).split("\n")[4] ?? "",
				"spare signing key": (await config("local:spareSigningKey")).split("\n")[4] ?? "",
				"GitHub token": await config("flathub:githubToken"),
				"worker's password": await flathub.on("builder-1", "cat", "/etc/flathub/secrets/worker-password"),
			};
			const { stateDir } = localSettings();
			const places: Record<string, string> = {
				state: (await stack.pulumi(["stack", "export", "--stack", stack.name])).stdout,
				configuration: readFileSync(`${stateDir}/pulumi/Pulumi.local.yaml`, "utf8"),
				"cloud's log":
					readFileSync(`${stateDir}/cloud.log`, "utf8") + readFileSync(`${stateDir}/cloud-output.log`, "utf8"),
				"command lines": (await execa("ps", ["-eww", "-o", "args"])).stdout,
			};
			for (const machine of Object.keys(outputs.machines)) {
				places[`journal of ${machine}`] = await flathub.on(machine, "journalctl", "--no-pager", "--output=cat");
			}
			const found = Object.entries(secrets).flatMap(([secret, value]) => {
				expect([secret, value.length > 15]).toEqual([secret, true]);
				return Object.entries(places)
					.filter(([, text]) => text.includes(value))
					.map(([place]) => `${secret} in ${place}`);
			});
			expect(found).toEqual([]);
		});

		it("stay in the agent: the publisher can have something signed, and neither take the key nor give a passphrase", async () => {
			const agent = [
				"runuser",
				"-u",
				"publisher",
				"--",
				"gpg-connect-agent",
				"--no-autostart",
				"--homedir",
				"/srv/keyring",
			];
			const ask = async (...commands: string[]) =>
				(await flathub.access.ssh("repo", agent, { input: [...commands, "/bye", ""].join("\n") })).stdout
					.trim()
					.split("\n");
			const keys = await flathub.on("repo", "ls", "/srv/signer/private-keys-v1.d");
			const grip = /^([0-9A-F]{40})\.key$/m.exec(keys)?.[1];
			expect(grip).toBeDefined();
			expect(await ask(`HAVEKEY ${grip}`)).toEqual(["OK"]);
			expect(await ask(`EXPORT_KEY ${grip}`, `PRESET_PASSPHRASE ${grip} -1 00`)).toEqual([
				expect.stringMatching(/^ERR .*Forbidden/),
				expect.stringMatching(/^ERR .*Forbidden/),
			]);
		});
	});
}
