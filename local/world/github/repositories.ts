import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Finished, run } from "../../../process/run.ts";
import { ApiError } from "./error.ts";

/** The branch that a new repository starts with. */
export const DEFAULT_BRANCH = "master";

/** A file in a bare repository whose time is that of the last push. */
const PUSHED = "pushed-at";

export interface Repository {
	id: number;
	owner: string;
	name: string;
	/** The bare repository. */
	directory: string;
	defaultBranch: string;
	/** When something was last pushed; null: never. */
	pushedAt: Date | null;
}

/** Ref name → object id. */
export type Refs = Map<string, string>;

/** The bare git repositories below one folder: `<root>/<owner>/<name>.git`. */
export class Repositories {
	readonly root: string;

	constructor(root: string) {
		this.root = root;
	}

	#directory(owner: string, name: string): string {
		return join(this.root, owner, `${name}.git`);
	}

	/** The repository, or a 404 as GitHub gives it. */
	async find(owner: string, name: string): Promise<Repository> {
		const directory = this.#directory(owner, name);
		if (!existsSync(directory)) throw new ApiError(404, "Not Found");
		const { stdout } = await git(directory, ["symbolic-ref", "--short", "HEAD"]);
		const pushed = await stat(join(directory, PUSHED)).catch(() => null);
		return {
			id: repositoryId(`${owner}/${name}`),
			owner,
			name,
			directory,
			defaultBranch: stdout.trim(),
			pushedAt: pushed?.mtime ?? null,
		};
	}

	/** Note that something was pushed just now. */
	async notePush(repository: Repository): Promise<void> {
		await writeFile(join(repository.directory, PUSHED), "");
	}

	/** Create an empty repository unless it is there. */
	async create(owner: string, name: string): Promise<Repository> {
		const directory = this.#directory(owner, name);
		if (!existsSync(directory)) {
			const partial = `${directory}.partial-${process.pid}`;
			await mkdir(join(this.root, owner), { recursive: true });
			await rm(partial, { recursive: true, force: true });
			await run(["git", "init", "--quiet", "--bare", `--initial-branch=${DEFAULT_BRANCH}`, partial]);
			await writeFile(join(partial, "description"), `${owner}/${name}\n`);
			await rename(partial, directory);
		}
		return this.find(owner, name);
	}

	async list(): Promise<Repository[]> {
		const repositories: Repository[] = [];
		for (const owner of await entries(this.root)) {
			for (const entry of await entries(join(this.root, owner))) {
				if (entry.endsWith(".git")) repositories.push(await this.find(owner, entry.slice(0, -4)));
			}
		}
		return repositories;
	}
}

async function entries(directory: string): Promise<string[]> {
	return existsSync(directory) ? (await readdir(directory)).sort() : [];
}

/** A number that stays the same for a repository's name (FNV-1a), as GitHub's payloads have one. */
function repositoryId(fullName: string): number {
	let hash = 0x811c9dc5;
	for (const byte of Buffer.from(fullName)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
	return hash;
}

/** Run git in a bare repository, without the configuration of whoever runs the server. */
export function git(directory: string, args: readonly string[], mayFail = false): Promise<Finished> {
	return run(["git", `--git-dir=${directory}`, ...args], { mayFail, env: { ...process.env, ...GIT_ENVIRONMENT } });
}

export const GIT_ENVIRONMENT = { GIT_CONFIG_NOSYSTEM: "1", GIT_CONFIG_GLOBAL: "/dev/null", GIT_TERMINAL_PROMPT: "0" };

/** All branches and tags. */
export async function readRefs(directory: string): Promise<Refs> {
	const { stdout } = await git(directory, [
		"for-each-ref",
		"--format=%(refname) %(objectname)",
		"refs/heads",
		"refs/tags",
	]);
	const refs: Refs = new Map();
	for (const line of stdout.split("\n")) {
		const [ref, sha] = line.split(" ");
		if (ref && sha) refs.set(ref, sha);
	}
	return refs;
}

/** The content of a file at a commit; undefined: there is none. */
export async function readFileAt(directory: string, sha: string, path: string): Promise<string | undefined> {
	const { exitCode, stdout } = await git(directory, ["cat-file", "blob", `${sha}:${path}`], true);
	return exitCode === 0 ? stdout : undefined;
}

/** Whether the repository has this commit. */
export async function hasCommit(directory: string, sha: string): Promise<boolean> {
	return (await git(directory, ["cat-file", "-e", `${sha}^{commit}`], true)).exitCode === 0;
}
