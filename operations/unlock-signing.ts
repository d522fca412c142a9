import { runCommand } from "./command.ts";
import { readPassphrase } from "./passphrase.ts";
import { unlockSigning } from "./signing.ts";
import { openStack } from "./stack.ts";

await runCommand(async () => {
	const [stackName, ...rest] = process.argv.slice(2);
	if (stackName === undefined || rest.length > 0)
		throw new Error("Usage: scripts/unlock-signing STACK (passphrase on stdin or at the prompt)");
	const passphrase = await readPassphrase();
	await unlockSigning(await (await openStack(stackName)).outputs(), passphrase);
	console.log("The signing key is unlocked: it has just signed.");
});
