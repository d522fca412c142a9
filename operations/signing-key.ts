import { closeSync, fsyncSync, mkdtempSync, openSync, readdirSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { runCommand } from "./command.ts";
import { readPassphrase } from "./passphrase.ts";
import { makeSigningKeys, type SigningKeys } from "./signing-keys.ts";

const usage =
	"Usage: scripts/signing-key DIRECTORY [--years N] [--user-id TEXT] (passphrase on stdin or at the prompt)";

/** What is in the directory, with what to do with it. */
const files = {
	"machine.asc": {
		content: (keys: SigningKeys) => keys.machine,
		purpose: "for the repository machine: pulumi config set --secret flathub:signingKey < machine.asc",
	},
	"spare.asc": {
		content: (keys: SigningKeys) => keys.spare,
		purpose: "keep offline, and not with the others: takes over when machine.asc must go",
	},
	"primary.asc": {
		content: (keys: SigningKeys) => keys.primary,
		purpose: "keep offline, with a copy elsewhere: makes and revokes subkeys, and is never on a machine with network",
	},
	"revocation.asc": {
		content: (keys: SigningKeys) => keys.revocation,
		purpose: "keep offline, apart from primary.asc: ends the whole key, its first lines say how",
	},
	"public.asc": {
		content: (keys: SigningKeys) => keys.public,
		purpose: "may be shown to everybody: what clients verify with; repo makes it from machine.asc by itself",
	},
};

function refuseUsed(directory: string): void {
	let entries: string[];
	try {
		entries = readdirSync(directory);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
		throw error;
	}
	if (entries.length > 0) {
		throw new Error(`${directory} holds ${entries.slice(0, 3).join(", ")}; expected an empty directory, or none.`);
	}
}

function writeSynced(path: string, content: string): void {
	const file = openSync(path, "wx", 0o600);
	writeSync(file, content);
	fsyncSync(file);
	closeSync(file);
}

/** All files or none: they are written beside the directory, which then gets its name, replacing an empty one. */
function writeKeys(directory: string, keys: SigningKeys): void {
	const unfinished = mkdtempSync(join(dirname(directory), `.${basename(directory)}.unfinished-`));
	try {
		for (const [name, { content }] of Object.entries(files)) writeSynced(join(unfinished, name), content(keys));
		renameSync(unfinished, directory);
	} catch (error) {
		rmSync(unfinished, { recursive: true, force: true });
		throw error;
	}
}

await runCommand(async () => {
	const { values, positionals } = parseArgs({
		options: {
			years: { type: "string", default: "10" },
			"user-id": { type: "string", default: "Flathub <flathub@flathub.org>" },
		},
		allowPositionals: true,
	});
	const [directory, ...rest] = positionals;
	if (directory === undefined || rest.length > 0) throw new Error(usage);
	const years = Number(values.years);
	if (!Number.isInteger(years) || years < 1 || years > 50) {
		throw new Error(`--years is ${JSON.stringify(values.years)}, expected a whole number from 1 to 50`);
	}
	refuseUsed(directory);
	const passphrase = await readPassphrase({ twice: true });
	const keys = await makeSigningKeys(values["user-id"], passphrase, { years });
	writeKeys(directory, keys);
	const width = Math.max(...Object.keys(files).map((name) => name.length));
	console.log(
		[
			`The signing key ${keys.fingerprint} is made, valid until ${keys.expires.toISOString().slice(0, 10)}.`,
			`One passphrase protects all of it. ${directory} holds`,
			...Object.entries(files).map(([name, { purpose }]) => `  ${name.padEnd(width)}  ${purpose}`),
		].join("\n"),
	);
});
