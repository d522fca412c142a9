import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { entries } from "./state.ts";

// net.ipv4.ip_forward is one for the whole host, and two data centres may be up on it (the tests have one of their own):
// who comes first notes the old value, who leaves last puts it back. Under /run, since a reboot undoes all of it.

const setting = "/proc/sys/net/ipv4/ip_forward";
const directory = "/run/flathub-local-forwarding";
const beforeFile = path.join(directory, "before");

const users = () => entries(directory).filter((name) => name.startsWith("user-"));

/** Turns forwarding on for the data centre `name`. */
export function enableForwarding(name: string): void {
	mkdirSync(directory, { recursive: true, mode: 0o755 });
	if (users().length === 0) writeFileSync(beforeFile, readFileSync(setting, "utf8").trim());
	writeFileSync(path.join(directory, `user-${name}`), "");
	if (readFileSync(setting, "utf8").trim() !== "1") writeFileSync(setting, "1");
}

/** Puts the host's value back once no data centre needs another one. */
export function restoreForwarding(name: string): void {
	rmSync(path.join(directory, `user-${name}`), { force: true });
	if (!entries(directory).includes("before") || users().length > 0) return;
	const before = readFileSync(beforeFile, "utf8").trim();
	// Writing it resets settings of every interface, so only if it differs.
	if (before !== "" && before !== readFileSync(setting, "utf8").trim()) writeFileSync(setting, before);
	rmSync(beforeFile);
	rmdirSync(directory);
}
