import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../process/run.ts";
import { entries } from "./cloud/host/state.ts";

// Which interpreter runs a foreign architecture's programs is the kernel's, one table for the host and all its containers.
// With the flag F the kernel holds the interpreter open, so it need not be in the container that runs such a program.
// What is missing in the table is noted before it is put in, and who leaves last takes it out. Under /run, since a reboot
// undoes all of it.

/** Flatpak's names of the architectures that are emulated, and the names of their rules in the table. */
const rules = { aarch64: "qemu-aarch64", arm: "qemu-arm" } as const;

const table = "/proc/sys/fs/binfmt_misc";
/** Where Debian's qemu-user-static (from Debian 13 on qemu-user-binfmt) has the rules. */
const rulesDirectory = "/usr/lib/binfmt.d";
const directory = "/run/flathub-local-binfmt";
const mountedFile = join(directory, "mounted");

const notes = (kind: "rule" | "user") =>
	entries(directory).flatMap((name) => (name.startsWith(`${kind}-`) ? [name.slice(kind.length + 1)] : []));

/**
 * Refuses a host that can't run arm and aarch64 programs in containers. Changes nothing.
 *
 * @throws Error that says what is in the way and what to do
 */
export function checkEmulation(): void {
	if (!existsSync(join(table, "register")) && !/\tbinfmt_misc$/m.test(readFileSync("/proc/filesystems", "utf8"))) {
		throw new Error(
			"This kernel can't run programs of other architectures (no binfmt_misc in /proc/filesystems), which building for arm and aarch64 needs: load it with `modprobe binfmt_misc`, or use a kernel that has it.",
		);
	}
	for (const [architecture, rule] of Object.entries(rules)) {
		const present = existsSync(join(table, rule)) ? readFileSync(join(table, rule), "utf8") : undefined;
		if (present === undefined) ruleOf(rule);
		else if (!/^enabled$/m.test(present) || !/^flags: \S*F/m.test(present)) {
			throw new Error(
				`${table}/${rule} is disabled or lacks the flag F, without which no container can run ${architecture} programs: remove it (echo -1 >${table}/${rule}) and run this again.`,
			);
		}
	}
}

/** The line for the kernel. */
function ruleOf(rule: string): string {
	const file = join(rulesDirectory, `${rule}.conf`);
	const line = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
	if (/^:[^\n]*:[A-Z]*F[A-Z]*$/.test(line)) return line;
	throw new Error(
		`${file} holds no rule with the flag F: install Debian's package qemu-user-static (apt-get install qemu-user-static).`,
	);
}

/** Lets the host and its containers run arm and aarch64 programs, until `stopEmulation` with the same name. */
export async function startEmulation(name: string): Promise<void> {
	checkEmulation();
	mkdirSync(directory, { recursive: true, mode: 0o755 });
	writeFileSync(join(directory, `user-${name}`), "");
	if (!existsSync(join(table, "register"))) {
		writeFileSync(mountedFile, "");
		await run(["mount", "-t", "binfmt_misc", "binfmt_misc", table]);
	}
	checkEmulation();
	for (const rule of Object.values(rules)) {
		if (existsSync(join(table, rule))) continue;
		writeFileSync(join(directory, `rule-${rule}`), "");
		writeFileSync(join(table, "register"), ruleOf(rule));
	}
}

/** Takes out of the table what `startEmulation` had put in, once nobody needs it any more. */
export async function stopEmulation(name: string): Promise<void> {
	rmSync(join(directory, `user-${name}`), { force: true });
	if (!existsSync(directory) || notes("user").length > 0) return;
	for (const rule of notes("rule")) {
		if (existsSync(join(table, rule))) writeFileSync(join(table, rule), "-1");
	}
	if (existsSync(mountedFile) && existsSync(join(table, "register"))) await run(["umount", table]);
	rmSync(directory, { recursive: true });
}
