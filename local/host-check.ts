import { existsSync, mkdirSync, statfsSync } from "node:fs";
import type { LocalSettings } from "./settings.ts";

/** Free disk that a first `up local` needs, in GB (10^9 bytes): engine and its build 4, image and machines 5, runtimes and builds 3. */
export const neededDiskGb = 12;

/** Refuses a host that can't run the local Flathub. @throws Error that says what is missing and what to do. */
export function checkHost(settings: LocalSettings): void {
	if (process.platform !== "linux") {
		throw new Error(`The local Flathub needs Linux, and this is ${process.platform}.`);
	}
	if (process.getuid?.() !== 0) {
		throw new Error(`The local Flathub needs root (user id 0, not ${process.getuid?.()}): run it with sudo.`);
	}
	// A running one has already taken its space.
	if (existsSync(settings.stateDir)) return;
	for (const dir of [settings.cacheDir, settings.stateDir]) {
		mkdirSync(dir, { recursive: true, mode: 0o755 });
		const { bavail, bsize } = statfsSync(dir);
		const freeGb = (bavail * bsize) / 1e9;
		if (freeGb < neededDiskGb) {
			throw new Error(
				`${dir}: ${freeGb.toFixed(1)} GB free; expected at least ${neededDiskGb} GB. Make room, or set FLATHUB_LOCAL_STATE and XDG_CACHE_HOME to folders on a larger disk.`,
			);
		}
	}
}
