import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../process/run.ts";
import { projectDir } from "../../project-dir.ts";

// Like no other on this machine: it is looked for among all processes.
const passphrase = `'correct' $(horse) ${randomBytes(8).toString("hex")}`;
const work = mkdtempSync(join(tmpdir(), "fk-"));
const script = join(projectDir, "scripts/signing-key");

afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Runs the script to its end. */
async function signingKey(args: string[], input = `${passphrase}\n`) {
	return run([script, ...args], { input, mayFail: true });
}

/** A fresh GnuPG home; the agent ends with it. */
async function inHome<T>(body: (gpg: (...args: string[]) => Promise<string>) => Promise<T>): Promise<T> {
	const home = mkdtempSync(join(tmpdir(), "fk-"));
	writeFileSync(join(home, "gpg-agent.conf"), "s2k-count 65536\n");
	const options = ["--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase-fd", "0"];
	try {
		return await body(async (...args) => (await run(["gpg", ...options, ...args], { input: passphrase })).stdout);
	} finally {
		await run(["gpgconf", "--homedir", home, "--kill", "all"], { mayFail: true });
		rmSync(home, { recursive: true, force: true });
	}
}

/** The keys of a file as gpg lists them after an import: primary first. */
async function keysOf(gpg: (...args: string[]) => Promise<string>, kind: "public" | "secret") {
	const listing = await gpg("--with-colons", `--list-${kind}-keys`);
	const lines = listing.split("\n").map((line) => line.split(":"));
	return lines.flatMap((fields, index) =>
		["pub", "sub", "sec", "ssb"].includes(fields[0] ?? "")
			? [
					{
						fingerprint: lines[index + 1]?.[9] ?? "",
						algorithm: fields[16],
						// Small letters: what this key may do.
						may: (fields[11] ?? "").replace(/[A-Z]/g, ""),
						secret: fields[14] === "+",
						expires: Number(fields[6]),
					},
				]
			: [],
	);
}

describe("the files", () => {
	const directory = join(work, "keys");
	const file = (name: string) => join(directory, name);
	let printed = "";

	beforeAll(async () => {
		mkdirSync(directory);
		const { exitCode, stdout, stderr } = await signingKey([directory, "--years", "3"]);
		expect(stderr).toBe("");
		expect(exitCode).toBe(0);
		printed = stdout;
	}, 60_000);

	test("are for their owner only, and each is explained", () => {
		const names = ["machine.asc", "primary.asc", "public.asc", "revocation.asc", "spare.asc"];
		expect(readdirSync(directory).sort()).toEqual(names);
		expect(statSync(directory).mode & 0o777).toBe(0o700);
		for (const name of names) {
			expect(statSync(file(name)).mode & 0o777).toBe(0o600);
			expect(printed).toContain(`  ${name} `);
		}
		expect(printed).toContain("pulumi config set --secret flathub:signingKey < machine.asc");
		expect(readdirSync(work)).toEqual(["keys"]);
	});

	test("hold a primary key that only certifies and two subkeys that only sign, which end together", async () => {
		const keys = await inHome(async (gpg) => {
			await gpg("--import", file("public.asc"));
			return keysOf(gpg, "public");
		});
		expect(keys.map(({ may, algorithm }) => `${may} ${algorithm}`)).toEqual(["c ed25519", "s ed25519", "s ed25519"]);
		const ends = new Set(keys.map(({ expires }) => expires));
		expect(ends.size).toBe(1);
		const [end = 0] = ends;
		expect(new Date(end * 1000).getUTCFullYear()).toBe(new Date().getUTCFullYear() + 3);
		expect(printed).toContain(`valid until ${new Date(end * 1000).toISOString().slice(0, 10)}`);
		expect(printed).toContain(keys[0]?.fingerprint);
	});

	test.each([
		["machine.asc", 1],
		["spare.asc", 2],
	])("%s alone signs, with its own subkey, what public.asc verifies", async (name, which) => {
		const probe = join(work, `${name}.probe`);
		writeFileSync(probe, "signed");
		await inHome(async (gpg) => {
			await gpg("--import", file(name));
			const keys = await keysOf(gpg, "secret");
			expect(keys.map(({ secret }) => secret)).toEqual([0, 1, 2].map((index) => index === which));
			await gpg("--local-user", keys[0]?.fingerprint ?? "", "--detach-sign", probe);
			const verified = await inHome(async (client) => {
				await client("--import", file("public.asc"));
				return client("--status-fd", "1", "--verify", `${probe}.sig`, probe);
			});
			expect(verified).toContain(`VALIDSIG ${keys[which]?.fingerprint}`);
		});
	});

	test("primary.asc makes another subkey; revocation.asc ends the key", async () => {
		await inHome(async (gpg) => {
			await gpg("--import", file("primary.asc"));
			const [primary] = await keysOf(gpg, "secret");
			await gpg("--quick-add-key", primary?.fingerprint ?? "", "ed25519", "sign", "1y");
			expect((await keysOf(gpg, "secret")).map(({ secret }) => secret)).toEqual([true, true, true, true]);
			const revocation = join(work, "revocation.asc");
			// As its own text says: the colon keeps it from being imported by mistake.
			writeFileSync(revocation, readFileSync(file("revocation.asc"), "utf8").replace(/^:/m, ""));
			await gpg("--import", revocation);
			expect(await gpg("--with-colons", "--list-keys")).toMatch(/^pub:r:/m);
		});
	});

	test("are not written over", async () => {
		const before = readFileSync(file("machine.asc"), "utf8");
		const { exitCode, stderr } = await signingKey([directory]);
		expect(exitCode).toBe(1);
		expect(stderr).toBe(
			`${directory} holds machine.asc, primary.asc, public.asc; expected an empty directory, or none.`,
		);
		expect(readFileSync(file("machine.asc"), "utf8")).toBe(before);
	});
});

test.each([
	[[], passphrase, /Usage: scripts\/signing-key DIRECTORY/],
	[["x", "y"], passphrase, /Usage: scripts\/signing-key DIRECTORY/],
	[["x", "--years", "0"], passphrase, /--years is "0", expected a whole number from 1 to 50/],
	[["x", "--year", "1"], passphrase, /Unknown option '--year'/],
	[["x"], "", /The passphrase is empty/],
	[["x"], "too short", /has 9 characters, expected one line of at least 16/],
	[["x"], `${passphrase}\nsecond line`, /expected one line/],
])("%j is refused", async (args, input, message) => {
	const { exitCode, stderr } = await signingKey(
		args.map((arg) => (arg.startsWith("-") || /^\d/.test(arg) ? arg : join(work, arg))),
		input,
	);
	expect(exitCode).not.toBe(0);
	expect(stderr).toMatch(message);
	expect(existsSync(join(work, "x"))).toBe(false);
});

/** Starts the script with a folder of its own for temporary files. */
function start(directory: string, temporary: string): ChildProcess {
	mkdirSync(temporary);
	const child = spawn(script, [directory], {
		env: { ...process.env, TMPDIR: temporary },
		stdio: ["pipe", "pipe", "inherit"],
		detached: true,
	});
	child.stdin?.end(`${passphrase}\n`);
	return child;
}

async function endAgents(temporary: string): Promise<void> {
	for (const home of readdirSync(temporary)) {
		await run(["gpgconf", "--homedir", join(temporary, home), "--kill", "all"], { mayFail: true });
	}
}

/** Types the answers at a terminal, each when it is asked for; returns the exit code and what the terminal shows. */
async function typed(directory: string, answers: string[]): Promise<{ exitCode: number; shown: string }> {
	const child = spawn("script", ["--quiet", "--return", "--command", `'${script}' '${directory}'`, "/dev/null"]);
	let shown = "";
	let asked = 0;
	child.stdout.on("data", (chunk: Buffer) => {
		shown += chunk.toString();
		if (shown.split(/(?:signing key|again): /).length - 1 > asked) child.stdin.write(`${answers[asked++]}\r`);
	});
	const [exitCode] = await once(child, "close");
	return { exitCode, shown };
}

test("at a terminal it asks twice and shows no answer", async () => {
	const directory = join(work, "typed");
	const different = await typed(directory, [passphrase, `${passphrase}x`]);
	expect(different.shown).toContain("The two passphrases differ; nothing was made.");
	expect(different.exitCode).toBe(1);
	expect(existsSync(directory)).toBe(false);
	const same = await typed(directory, [passphrase, passphrase]);
	expect(same.exitCode).toBe(0);
	expect(readdirSync(directory)).toHaveLength(5);
	expect(different.shown + same.shown).not.toContain(passphrase);
}, 60_000);

test("killed in the middle, it leaves nothing that looks whole, and another run makes it", async () => {
	const [directory, temporary] = [join(work, "killed"), `${mkdtempSync(join(tmpdir(), "fk-"))}/t`];
	const child = start(directory, temporary);
	const secrets = () =>
		readdirSync(temporary).flatMap((home) => {
			const folder = join(temporary, home, "private-keys-v1.d");
			return existsSync(folder) ? readdirSync(folder) : [];
		});
	const end = Date.now() + 15_000;
	while (secrets().length < 3) {
		if (Date.now() > end || child.exitCode !== null) throw new Error("no three secret keys were seen on the way");
		await pause(5);
	}
	process.kill(-(child.pid ?? 0), "SIGKILL");
	await once(child, "exit");
	await endAgents(temporary);
	expect(existsSync(directory)).toBe(false);
	expect((await signingKey([directory])).exitCode).toBe(0);
	expect(readdirSync(directory)).toHaveLength(5);
	rmSync(join(temporary, ".."), { recursive: true });
}, 60_000);

test("the passphrase is in no process's arguments, and no GnuPG home stays", async () => {
	const [directory, temporary] = [join(work, "watched"), `${mkdtempSync(join(tmpdir(), "fk-"))}/t`];
	const child = start(directory, temporary);
	const output = text(child.stdout as NodeJS.ReadableStream);
	const seen = new Set<string>();
	while (child.exitCode === null) {
		for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
			try {
				const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
				if (line.includes(temporary) || line.includes(passphrase)) seen.add(line);
			} catch {
				// It has ended.
			}
		}
		await pause(2);
	}
	expect(child.exitCode).toBe(0);
	expect(await output).not.toContain(passphrase);
	expect([...seen].some((line) => line.startsWith("gpg\0"))).toBe(true);
	expect([...seen].filter((line) => line.includes(passphrase))).toEqual([]);
	expect(readdirSync(temporary).filter((name) => name.startsWith("flathub-key-"))).toEqual([]);
	rmSync(join(temporary, ".."), { recursive: true });
}, 60_000);
