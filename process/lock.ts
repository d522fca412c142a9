import { spawn } from "node:child_process";
import { once } from "node:events";

/**
 * Runs work while holding an exclusive lock on a file. The lock is flock(1)'s, held by a child that ends when its stdin
 * closes: however this process ends, the lock does not outlive it.
 *
 * @param file made if it is not there; its folder must be there
 * @param deadlineSeconds how long to wait for another process that holds it
 * @param onWait told once, if it takes longer than a second
 * @throws if another process holds it for longer
 */
export async function withLock<T>(
	file: string,
	deadlineSeconds: number,
	onWait: () => void,
	work: () => Promise<T>,
): Promise<T> {
	const holder = spawn("flock", ["--wait", String(deadlineSeconds), file, "sh", "-c", "echo held; exec cat"], {
		stdio: ["pipe", "pipe", "inherit"],
	});
	const ended = new Promise<never>((_, reject) => {
		holder.once("error", (error) => reject(new Error(`flock (of util-linux) can't be run: ${error.message}`)));
		holder.once("exit", () =>
			reject(new Error(`${file} is held by another process for more than ${deadlineSeconds} s: wait for it or end it`)),
		);
	});
	ended.catch(() => {});
	const patience = setTimeout(onWait, 1000);
	try {
		await Promise.race([once(holder.stdout, "data"), ended]);
		clearTimeout(patience);
		return await work();
	} finally {
		clearTimeout(patience);
		holder.stdin.end();
	}
}
