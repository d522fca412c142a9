import { describe, expect, it } from "vitest";
import { poll } from "../../process/poll.ts";
import { finalStatus, flathub } from "./flathub.ts";
import { type Seen, watchServed } from "./served.ts";

const shell = "org.flathub.test.Shell";
const ref = `app/${shell}/x86_64/stable`;

/** docs/runbooks/rotate-signing-key.md, with a user who added the repository before. */
export function rotationTests(): void {
	describe("the signing key's rotation", () => {
		let endWatch: () => Promise<Seen>;
		let spare: string;

		it("to the spare subkey takes a line of the configuration and a deployment: both have one passphrase", async () => {
			const { stack, outputs, on } = flathub;
			const health = async () =>
				(await (await fetch(`http://${outputs.publicAddress}/status/signing.json`)).json()) as Record<string, string>;
			const before = await health();
			expect(before.state).toBe("ok");
			// Verifies with the key of a client that comes now.
			endWatch = await watchServed(outputs.publicAddress);

			const { stdout } = await stack.pulumi(["config", "get", "local:spareSigningKey", ...stack.configArguments]);
			await stack.pulumi(["config", "set", "--secret", "flathub:signingKey", ...stack.configArguments], {
				input: stdout,
			});
			await stack.pulumi(["up", "--yes", "--skip-preview", ...stack.configArguments]);
			const after = await poll("a signature by the spare subkey", 180, async () => {
				const now = await health();
				return now.state === "ok" && now.subkey !== before.subkey ? now : undefined;
			});
			expect(after.fingerprint).toBe(before.fingerprint);
			spare = after.subkey ?? "";
			// Secrets that are here have a "+" in the 15th field; the primary's and the old subkey's have not.
			const listing = await on("repo", ...gpgOfTheSigner, "--with-colons", "--list-secret-keys");
			const lines = listing.split("\n").map((line) => line.split(":"));
			const fingerprints = lines.flatMap((fields, index) =>
				fields[0] === "ssb" && fields[14] === "+" ? [lines[index + 1]?.[9]] : [],
			);
			expect(fingerprints).toEqual([spare]);
		}, 1_200_000);

		it("goes unnoticed by a user who had the repository before", async () => {
			const { world, on } = flathub;
			const { commit } = await world.pushSample(shell);
			expect(await finalStatus(world, shell, commit, "flathub/publish")).toBe("success");
			const update = await world.client.run(["flatpak", "update", "--user", "--noninteractive", ref]);
			expect([update.exitCode, update.stderr]).toEqual([0, ""]);
			const published = (await on("repo", "ostree", "rev-parse", "--repo=/srv/repo", ref)).trim();
			const installed = await world.client.run(["flatpak", "info", "--user", "--show-commit", ref]);
			expect(installed.stdout.trim()).toBe(published);
			const shown = await world.client.run([
				"ostree",
				"--repo=/home/user/.local/share/flatpak/repo",
				"show",
				"--gpg-verify-remote=flathub",
				published,
			]);
			expect(shown.stdout).toContain(`key ID ${spare.slice(-16)}`);
			expect(shown.stdout).toContain("Good signature");
			const seen = await endWatch();
			expect(seen.faults).toEqual([]);
			expect(seen.verified).toBeGreaterThan(10);
		}, 1_200_000);
	});
}

const gpgOfTheSigner = ["runuser", "-u", "signer", "--", "gpg", "--homedir=/srv/signer", "--no-autostart", "--batch"];
