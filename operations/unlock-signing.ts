import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { runCommand } from "./command.ts";
import { unlockSigning } from "./signing.ts";
import { openStack } from "./stack.ts";

/** The passphrase from stdin, or from a prompt that shows nothing if stdin is a terminal. */
async function readPassphrase(): Promise<string> {
	if (!process.stdin.isTTY) return (await text(process.stdin)).replace(/\n$/, "");
	process.stderr.write("Passphrase of the signing key: ");
	const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
	const prompt = createInterface({ input: process.stdin, output: silent, terminal: true });
	const passphrase = await prompt.question("");
	prompt.close();
	process.stderr.write("\n");
	return passphrase;
}

await runCommand(async () => {
	const [stackName, ...rest] = process.argv.slice(2);
	if (stackName === undefined || rest.length > 0)
		throw new Error("Usage: scripts/unlock-signing STACK (passphrase on stdin or at the prompt)");
	const passphrase = await readPassphrase();
	if (passphrase === "") throw new Error("The passphrase is empty; expected the one of the signing key.");
	await unlockSigning(await (await openStack(stackName)).outputs(), passphrase);
	console.log("The signing key is unlocked: it has just signed.");
});
