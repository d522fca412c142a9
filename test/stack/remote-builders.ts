import { describe, expect, it } from "vitest";
import { poll } from "../../process/poll.ts";
import { finalStatus, flathub, reopen } from "./flathub.ts";
import { failureOf, script } from "./script.ts";

const shell = "org.flathub.test.Shell";

/** What front's worker port says first, in hexadecimal: the master's greeting, or nothing. */
async function greeting(machine: string, certificate: string): Promise<string> {
	const connect = `openssl s_client -quiet -connect ${flathub.outputs.publicAddress}:9990 -servername workers.flathub.test`;
	// Its input stays open until an answer had time to come.
	const shell = `timeout 8 ${connect} ${certificate} < <(sleep 5) 2>/dev/null | head -c 16 | od -An -tx1`;
	return (await flathub.on(machine, "bash", "-c", shell)).replaceAll(/\s/g, "");
}

const copy = "/root/copied-secrets";
const certificate = `-cert ${copy}/worker-certificate.pem -key ${copy}/worker-key.pem`;

/** A line of the configuration is all that a remote builder takes, to join and to leave. */
export function remoteBuilderTests(): void {
	describe("a remote builder", () => {
		it("stands in the master's list, and front's worker port gives nothing without its certificate", async () => {
			expect(await flathub.buildbot.connectedWorkers()).toEqual(expect.arrayContaining(["codethink-1", "codethink-2"]));
			// Kept by somebody who copied it: later the list decides, not the machine.
			await flathub.on("codethink-2", "cp", "-rT", "/etc/flathub/secrets", copy);
			expect(await greeting("codethink-2", certificate)).not.toBe("");
			expect(await greeting("codethink-2", "")).toBe("");
		});

		it("leaves when its line goes: nothing of it stays on the machine, its certificate opens nothing", async () => {
			const { stack, access, world } = flathub;
			const config = (...args: string[]) => stack.pulumi(["config", ...args, ...stack.configArguments]);
			await config("rm", "--path", "flathub:remoteBuilders.codethink-2");
			await config("rm", "flathub:architectures");
			for (const [index, architecture] of ["x86_64", "i386", "aarch64"].entries()) {
				await config("set", "--path", `flathub:architectures[${index}]`, architecture);
			}
			await stack.pulumi(["up", "--yes", "--skip-preview", ...stack.configArguments]);

			const left = await access.ssh(
				"codethink-2",
				[
					"bash",
					"-c",
					"ls -d /opt/flathub /etc/flathub /etc/systemd/system/buildbot-worker.service 2>/dev/null; systemctl is-active buildbot-worker.service",
				],
				{ mayFail: true },
			);
			expect(left.stdout.trim()).toBe("inactive");
			expect((await flathub.buildbot.connectedWorkers()).sort()).not.toContain("codethink-2");
			expect(await greeting("codethink-2", certificate)).toBe("");

			const { commit } = await world.pushSample(shell);
			expect(await finalStatus(world, shell, commit, "flathub/publish")).toBe("success");
			const contexts = (await world.statuses(shell, commit)).map(({ context }) => context);
			expect(contexts).toContain("flathub/build-aarch64");
			expect(contexts).not.toContain("flathub/build-arm");
		}, 1_800_000);

		it("comes back with its line, and builds", async () => {
			// The tracked configuration has the line.
			expect(failureOf(await script("up", "local"))).toBe("");
			await reopen();
			await poll("codethink-2's connection", 120, async () =>
				(await flathub.buildbot.connectedWorkers()).includes("codethink-2") ? true : undefined,
			);
			const { commit } = await flathub.world.pushSample(shell);
			expect(await finalStatus(flathub.world, shell, commit, "flathub/build-arm")).toBe("success");
			expect(await finalStatus(flathub.world, shell, commit, "flathub/publish")).toBe("success");
		}, 1_800_000);
	});
}
