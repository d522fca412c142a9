import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { execa } from "execa";

/**
 * The OpenPGP signature in a signature file of ostree's: a GVariant of type a{sv} whose one entry, "ostree.gpgsigs", is an
 * array of signatures (aay). Its data begins at the next multiple of 8 behind the key and ends before the type's name; the
 * array's end of its only element stands last, in one byte or two as the array's size asks for.
 */
function openPgpSignature(file: Buffer): Buffer {
	const begin = file.indexOf("ostree.gpgsigs\0");
	const end = file.indexOf("\0aay", begin);
	if (begin !== 0 || end < 0) throw new Error(`not a signature file of ostree's: ${file.length} bytes`);
	const array = file.subarray(16, end);
	const width = array.length <= 0xff ? 1 : 2;
	return array.subarray(0, array.readUIntLE(array.length - width, width));
}

/** What a client that asks again and again has seen. */
export interface Seen {
	/** Summary indexes whose signature was verified. */
	verified: number;
	/** Requests that nobody answered, or a front without repository: no client is misled by that. */
	unreachable: number;
	/** What a client must never see, a line each. */
	faults: string[];
}

/**
 * Fetches the summary index through front as a client does, every 300 ms, and verifies it: the signature named after its
 * checksum, or else the one beside it.
 *
 * @returns ends the watch and answers what was seen
 */
export async function watchServed(publicAddress: string): Promise<() => Promise<Seen>> {
	const repo = `http://${publicAddress}/repo`;
	const dir = mkdtempSync(join(tmpdir(), "flathub-watch-"));
	const keyring = join(dir, "flathub.gpg");
	const flatpakrepo = await (await fetch(`${repo}/flathub.flatpakrepo`)).text();
	const key = /^GPGKey=(.*)$/m.exec(flatpakrepo)?.[1];
	if (key === undefined) throw new Error("flathub.flatpakrepo names no key");
	writeFileSync(keyring, Buffer.from(key, "base64"));

	const seen: Seen = { verified: 0, unreachable: 0, faults: [] };
	const get = async (path: string) => {
		const response = await fetch(`${repo}/${path}`, { signal: AbortSignal.timeout(10_000) });
		return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
	};
	const look = async () => {
		const index = await get("summary.idx");
		if (index.status >= 500) {
			seen.unreachable += 1;
			return;
		}
		const sha256 = createHash("sha256").update(index.body).digest("hex");
		const named = await get(`summaries/${sha256}.idx.sig`);
		const signature = named.status === 404 ? await get("summary.idx.sig") : named;
		if (signature.status >= 500) {
			seen.unreachable += 1;
			return;
		}
		writeFileSync(join(dir, "index"), index.body);
		try {
			writeFileSync(join(dir, "signature"), openPgpSignature(signature.body));
		} catch (error) {
			seen.faults.push(`index ${sha256} (${index.status}), signature (${signature.status}): ${error}`);
			return;
		}
		const { exitCode, stderr } = await execa(
			"gpgv",
			["--homedir", dir, "--keyring", keyring, join(dir, "signature"), join(dir, "index")],
			{ reject: false },
		);
		if (exitCode === 0) seen.verified += 1;
		else seen.faults.push(`index ${sha256} (${index.status}), signature (${signature.status}): ${stderr}`);
	};

	let ended = false;
	const watching = (async () => {
		while (!ended) {
			try {
				await look();
			} catch {
				seen.unreachable += 1;
			}
			await pause(300);
		}
	})();
	return async () => {
		ended = true;
		await watching;
		rmSync(dir, { recursive: true, force: true });
		return seen;
	};
}
