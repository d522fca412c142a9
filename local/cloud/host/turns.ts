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
