import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startTime, stillRuns } from "../../process/identity.ts";

/**
 * Holds the state directory for this process. The lock of a process that ended, however it ended, is taken over.
 *
 * @returns gives the lock back.
 * @throws if another process that still runs holds it; the message names it.
 */
export function takeLock(stateDirectory: string): () => void {
	const path = join(stateDirectory, "cloud.pid");
	const mine = `${process.pid} ${startTime(process.pid)}\n`;
	const temporary = `${path}.${process.pid}`;
	writeFileSync(temporary, mine);
	try {
		for (;;) {
			try {
				// Unlike a write, a link fails if the file is there, and never shows half of it.
				linkSync(temporary, path);
				break;
			} catch (error) {
				if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
			}
			const holder = lockHolder(stateDirectory);
			if (holder !== undefined) {
				throw new Error(
					`the local cloud runs already as process ${holder} (${path}); stop it with scripts/down local, or set FLATHUB_LOCAL_STATE`,
				);
			}
			rmSync(path, { force: true });
		}
	} finally {
		rmSync(temporary, { force: true });
	}
	return () => {
		if (lockHolder(stateDirectory) === process.pid) rmSync(path, { force: true });
	};
}

/** The process that holds a state directory; undefined if none does, or if it ended without giving its lock back. */
export function lockHolder(stateDirectory: string): number | undefined {
	let text: string;
	try {
		text = readFileSync(join(stateDirectory, "cloud.pid"), "utf8");
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
		throw error;
	}
	const [pid, time] = text.trim().split(" ");
	return time !== undefined && stillRuns({ pid: Number(pid), startTime: time }) ? Number(pid) : undefined;
}
