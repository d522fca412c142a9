import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";

/**
 * Waits for a lock on a file and gives the function that releases it. It is flock's, held by a child that ends with
 * this process: a killed process leaves no lock behind.
 */
export async function lock(file: string): Promise<() => void> {
	mkdirSync(path.dirname(file), { recursive: true });
	const child = spawn("flock", [file, "sh", "-c", "echo locked; read -r _ || true"], {
		stdio: ["pipe", "pipe", "inherit"],
	});
	await new Promise<void>((resolve, reject) => {
		child.once("error", reject);
		child.once("exit", (code) => reject(new Error(`flock ${file}: exit status ${code}`)));
		child.stdout.once("data", () => resolve());
	});
	return () => child.stdin.end();
}

/** Runs tasks with the same key one after the other, those with different keys at the same time. */
export class Turns {
	readonly #last = new Map<string, Promise<unknown>>();

	take<T>(key: string, task: () => Promise<T>): Promise<T> {
		const before = this.#last.get(key) ?? Promise.resolve();
		const mine = before.then(task, task);
		const settled = mine.catch(() => {});
		this.#last.set(key, settled);
		void settled.then(() => {
			if (this.#last.get(key) === settled) this.#last.delete(key);
		});
		return mine;
	}
}
