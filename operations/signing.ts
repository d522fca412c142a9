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
