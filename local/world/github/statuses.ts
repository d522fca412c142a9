import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeWhole } from "../../whole-file.ts";

/** The body of `POST /repos/:owner/:repo/statuses/:sha`. */
export const newStatusSchema = z.strictObject({
	state: z.enum(["error", "failure", "pending", "success"]),
	target_url: z.union([z.url(), z.literal("")]).nullish(),
	description: z.string().max(140, "is too long (maximum is 140 characters)").nullish(),
	context: z.string().min(1).default("default"),
});

export interface CommitStatus {
	id: number;
	state: "error" | "failure" | "pending" | "success";
	target_url: string | null;
	description: string | null;
	context: string;
	created_at: string;
	updated_at: string;
	url: string;
}

/** The last status of each context, and what they amount to: GitHub's combined status of a commit. */
export function combine(statuses: readonly CommitStatus[]): { state: CommitStatus["state"]; statuses: CommitStatus[] } {
	const last = [...new Map(statuses.toReversed().map((status) => [status.context, status])).values()];
	const states = last.map(({ state }) => state);
	const bad = states.includes("error") || states.includes("failure");
	const done = states.length > 0 && states.every((state) => state === "success");
	return { state: bad ? "failure" : done ? "success" : "pending", statuses: last };
}

/** The statuses of commits, one file a commit: `<root>/<owner>/<name>/<sha>.json`. */
export class Statuses {
	readonly #root: string;
	#queue: Promise<unknown> = Promise.resolve();

	constructor(root: string) {
		this.#root = root;
	}

	#file(owner: string, name: string, sha: string): string {
		return join(this.#root, owner, name, `${sha}.json`);
	}

	/** The newest first, as GitHub lists them. */
	async list(owner: string, name: string, sha: string): Promise<CommitStatus[]> {
		try {
			return JSON.parse(await readFile(this.#file(owner, name, sha), "utf8")) as CommitStatus[];
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
			throw error;
		}
	}

	add(
		owner: string,
		name: string,
		sha: string,
		status: z.infer<typeof newStatusSchema>,
		apiUrl: string,
	): Promise<CommitStatus> {
		const added = this.#queue.then(async () => {
			const earlier = await this.list(owner, name, sha);
			const now = new Date().toISOString();
			const entry: CommitStatus = {
				id: (earlier[0]?.id ?? 0) + 1,
				state: status.state,
				target_url: status.target_url || null,
				description: status.description ?? null,
				context: status.context,
				created_at: now,
				updated_at: now,
				url: `${apiUrl}/repos/${owner}/${name}/statuses/${sha}`,
			};
			const file = this.#file(owner, name, sha);
			writeWhole(file, JSON.stringify([entry, ...earlier]));
			return entry;
		});
		this.#queue = added.catch(() => {});
		return added;
	}
}
