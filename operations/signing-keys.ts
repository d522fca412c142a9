import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../process/run.ts";

/** A primary key, two signing subkeys, and the files that hold them; all but the public ones are encrypted with one passphrase. */
export interface SigningKeys {
	/** Of the primary key: what a client knows the repository by. */
	fingerprint: string;
	/** Fingerprints of the subkey in `machine` and of the one in `spare`. */
	subkeys: { machine: string; spare: string };
	/** When all three keys end. */
	expires: Date;
	/** Every secret key, armored: to be kept offline. */
	primary: string;
	/** The first subkey's secret and nobody else's, with the public halves of all, armored: the configuration's flathub:signingKey. */
	machine: string;
	/** The same with the second subkey's secret, for the day when the first one must go. */
	spare: string;
	/** What clients get: every public key, armored. */
	public: string;
	/** Revokes the primary key, and so everything; GnuPG put a colon before its first line so that nobody imports it by mistake. */
	revocation: string;
}

export interface SigningKeysOptions {
	/** How long the keys are valid, in whole years. Default 10. */
	years?: number;
}

/** In characters. The repository machine hashes it only lightly, since each signature waits for that. */
const shortestPassphrase = 16;

/** Runs gpg in its own home with the passphrase on standard input, where no process list shows it. */
class Home {
	readonly path = mkdtempSync(join(tmpdir(), "flathub-key-"));
	readonly #passphrase: string;

	constructor(passphrase: string) {
		this.#passphrase = passphrase;
		// The agent forgets at once: what a killed run leaves behind can't sign. The count is the greatest that a key file
		// can name; the agent's own, measured, can be many times that, and costs seconds at every use of a key here.
		writeFileSync(
			join(this.path, "gpg-agent.conf"),
			"default-cache-ttl 0\nmax-cache-ttl 0\ns2k-count 65011712\ndisable-scdaemon\n",
		);
	}

	async gpg(...args: string[]): Promise<string> {
		const options = ["--homedir", this.path, "--quiet", "--batch", "--no-tty", "--armor"];
		const passphrase = ["--pinentry-mode", "loopback", "--passphrase-fd", "0"];
		const { stdout } = await run(["gpg", ...options, ...passphrase, ...args], { input: this.#passphrase });
		return `${stdout}\n`;
	}

	/** A file in this home. */
	file(name: string, content: string): string {
		const path = join(this.path, name);
		writeFileSync(path, content, { mode: 0o600 });
		return path;
	}

	async remove(): Promise<void> {
		await run(["gpgconf", "--homedir", this.path, "--kill", "all"], { mayFail: true });
		rmSync(this.path, { recursive: true, force: true });
	}
}

async function inHome<T>(passphrase: string, body: (home: Home) => Promise<T>): Promise<T> {
	const home = new Home(passphrase);
	try {
		return await body(home);
	} finally {
		await home.remove();
	}
}

/** The fingerprints of the primary key and its subkeys, in the order in which they were made. */
async function fingerprints(home: Home): Promise<string[]> {
	const listing = await home.gpg("--with-colons", "--list-keys");
	return listing
		.split("\n")
		.map((line) => line.split(":"))
		.filter(([kind]) => kind === "fpr")
		.map((fields) => fields[9] ?? "");
}

/**
 * The key file with the secret of one subkey. It is made in a home that has never seen another secret, and is handed out
 * after that subkey has signed there.
 */
async function withOnly(subkey: string, secret: string, keys: { primary: string; public: string; passphrase: string }) {
	return inHome(keys.passphrase, async (home) => {
		await home.gpg("--import", home.file("public.asc", keys.public));
		await home.gpg("--import", home.file("secret.asc", secret));
		const probe = home.file("probe", "Can this subkey sign?\n");
		const signed = await home.gpg("--status-fd", "1", "--local-user", keys.primary, "--detach-sign", probe);
		if (!signed.includes(subkey))
			throw new Error(`Subkey ${subkey} did not sign in a home that has no other: ${signed}`);
		return home.gpg("--export-secret-subkeys", keys.primary);
	});
}

/**
 * Makes a signing key in GnuPG homes that are gone afterwards: a primary key that only certifies, a signing subkey for
 * the repository machine, and a spare one that clients know from the first day, so that a rotation asks nothing of them.
 */
export async function makeSigningKeys(
	userId: string,
	passphrase: string,
	{ years = 10 }: SigningKeysOptions = {},
): Promise<SigningKeys> {
	if (passphrase.length < shortestPassphrase || /[\r\n]/.test(passphrase)) {
		throw new Error(
			`The passphrase has ${passphrase.length} characters, expected one line of at least ${shortestPassphrase}: it is all that protects the key on a stolen disk.`,
		);
	}
	const expires = new Date();
	expires.setUTCFullYear(expires.getUTCFullYear() + years);
	expires.setUTCMilliseconds(0);
	// The same instant for all three: a duration would count from each key's own making.
	const end = expires.toISOString().replace(/[-:]|\.\d+Z/g, "");
	return inHome(passphrase, async (home) => {
		await home.gpg("--quick-generate-key", userId, "ed25519", "cert", end);
		const [primary] = await fingerprints(home);
		if (primary === undefined) throw new Error(`gpg made no key for ${JSON.stringify(userId)}.`);
		for (const _ of ["machine", "spare"]) await home.gpg("--quick-add-key", primary, "ed25519", "sign", end);
		const [, machine, spare, ...more] = await fingerprints(home);
		if (machine === undefined || spare === undefined || more.length > 0) {
			throw new Error(`gpg made other keys than a primary one with two subkeys for ${JSON.stringify(userId)}.`);
		}
		const keys = { primary, public: await home.gpg("--export", primary), passphrase };
		const only = async (subkey: string) =>
			withOnly(subkey, await home.gpg("--export-secret-subkeys", `${subkey}!`), keys);
		return {
			fingerprint: primary,
			subkeys: { machine, spare },
			expires,
			primary: await home.gpg("--export-secret-keys", primary),
			machine: await only(machine),
			spare: await only(spare),
			public: keys.public,
			revocation: readFileSync(join(home.path, "openpgp-revocs.d", `${primary}.rev`), "utf8"),
		};
	});
}
