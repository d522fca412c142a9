import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../process/run.ts";
import { openAccess } from "./access.ts";
import type { StackOutputs } from "./stack.ts";

/** Presets the passphrase in repo's gpg-agent, over SSH on stdin; returns when the key has signed. */
export async function unlockSigning(outputs: StackOutputs, passphrase: string): Promise<void> {
	const access = openAccess(outputs);
	try {
		const repo = Object.keys(outputs.machines).find((name) => name === "repo");
		if (repo === undefined)
			throw new Error(`The stack has no machine "repo", only ${Object.keys(outputs.machines).join(", ")}.`);
		await access.ssh(repo, ["/opt/flathub/current/role/unlock-signing"], { input: `${passphrase}\n` });
	} finally {
		access.close();
	}
}

/**
 * Makes a signing key in a GnuPG home that is gone afterwards.
 * @returns the armored secret key, encrypted with the passphrase.
 */
export async function makeSigningKey(userId: string, passphrase: string): Promise<string> {
	const home = mkdtempSync(join(tmpdir(), "flathub-key-"));
	const gpg = (args: string[], input: string) =>
		run(["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0", ...args], {
			input,
		});
	try {
		await gpg(["--quick-generate-key", userId, "ed25519", "sign", "2y"], passphrase);
		const { stdout } = await gpg(["--armor", "--export-secret-keys", userId], passphrase);
		return `${stdout}\n`;
	} finally {
		await run(["gpgconf", "--homedir", home, "--kill", "all"], { mayFail: true });
		rmSync(home, { recursive: true, force: true });
	}
}
