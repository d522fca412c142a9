import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";

/** Answers typed at the terminal, of which it shows nothing. */
async function ask(questions: string[]): Promise<string[]> {
	const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
	// From here on the terminal echoes nothing: before the first question is shown.
	const prompt = createInterface({ input: process.stdin, output: silent, terminal: true });
	prompt.on("SIGINT", () => process.exit(130));
	const answers: string[] = [];
	for (const question of questions) {
		process.stderr.write(question);
		answers.push(await prompt.question(""));
		process.stderr.write("\n");
	}
	prompt.close();
	return answers;
}

/**
 * The passphrase from stdin, or from a prompt that shows nothing if stdin is a terminal.
 *
 * @param twice whether the prompt asks again, for a passphrase that is new. Default false.
 * @throws Error if it is empty or the two answers differ.
 */
export async function readPassphrase({ twice = false } = {}): Promise<string> {
	const questions = ["Passphrase of the signing key: ", ...(twice ? ["The same passphrase again: "] : [])];
	const answers = process.stdin.isTTY ? await ask(questions) : [(await text(process.stdin)).replace(/\n$/, "")];
	const [passphrase] = answers;
	if (!passphrase) throw new Error("The passphrase is empty; expected the one of the signing key.");
	if (answers.some((answer) => answer !== passphrase)) {
		throw new Error("The two passphrases differ; nothing was made.");
	}
	return passphrase;
}
