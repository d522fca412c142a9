import { createHmac } from "node:crypto";
import { git, type Refs, type Repository } from "./repositories.ts";

const ZERO = "0".repeat(40);

/** GitHub names at most this many commits in a payload. */
const MAX_COMMITS = 20;

/** A ref that a push created (before is all zeros), moved, or deleted (after is all zeros). */
export interface RefUpdate {
	ref: string;
	before: string;
	after: string;
}

/** What changed between two looks at a repository's refs, in the order of the refs' names. */
export function refUpdates(before: Refs, after: Refs): RefUpdate[] {
	const names = [...new Set([...before.keys(), ...after.keys()])].sort();
	return names
		.map((ref) => ({ ref, before: before.get(ref) ?? ZERO, after: after.get(ref) ?? ZERO }))
		.filter((update) => update.before !== update.after);
}

interface Person {
	name: string;
	email: string;
	username: string;
}

export interface CommitPayload {
	id: string;
	tree_id: string;
	distinct: boolean;
	message: string;
	timestamp: string;
	url: string;
	author: Person;
	committer: Person;
	added: string[];
	removed: string[];
	modified: string[];
}

/** GitHub's user object, as far as it is stable without an account behind it. */
function account(login: string, publicUrl: string, type: "User" | "Organization") {
	return {
		login,
		name: login,
		email: `${login}@users.noreply.github.test`,
		id: 1,
		html_url: `${publicUrl}/${login}`,
		url: `${publicUrl}/api/v3/users/${login}`,
		type,
		site_admin: false,
	};
}

/** GitHub's repository object: in payloads and as the answer of `GET /repos/:owner/:repo`. */
export function repositoryPayload(repository: Repository, publicUrl: string) {
	const fullName = `${repository.owner}/${repository.name}`;
	const url = `${publicUrl}/${fullName}`;
	return {
		id: repository.id,
		name: repository.name,
		full_name: fullName,
		private: false,
		owner: account(repository.owner, publicUrl, "Organization"),
		html_url: url,
		description: null,
		fork: false,
		url,
		git_url: `${url}.git`,
		clone_url: `${url}.git`,
		default_branch: repository.defaultBranch,
		master_branch: repository.defaultBranch,
	};
}

/** The payload of GitHub's `push` event for one updated ref. `before` are all refs as they were before the push. */
export async function pushPayload(
	repository: Repository,
	update: RefUpdate,
	before: Refs,
	pusher: string,
	publicUrl: string,
) {
	const url = `${publicUrl}/${repository.owner}/${repository.name}`;
	const created = update.before === ZERO;
	const deleted = update.after === ZERO;
	const forced =
		!created &&
		!deleted &&
		(await git(repository.directory, ["merge-base", "--is-ancestor", update.before, update.after], true)).exitCode !==
			0;
	const commits: CommitPayload[] = [];
	if (!deleted) {
		// What an existing branch gained; of a new one, what no other ref had.
		const excluded = created ? [...before.values()] : [update.before];
		const { stdout } = await git(repository.directory, [
			...["rev-list", "--reverse", update.after, "--not", ...excluded],
		]);
		const known = new Set(before.values());
		for (const sha of lines(stdout).slice(-MAX_COMMITS)) {
			commits.push(await commitPayload(repository, sha, url, !known.has(sha)));
		}
	}
	return {
		ref: update.ref,
		before: update.before,
		after: update.after,
		repository: repositoryPayload(repository, publicUrl),
		pusher: { name: pusher, email: `${pusher}@users.noreply.github.test` },
		organization: { login: repository.owner, id: 1, url: `${publicUrl}/api/v3/orgs/${repository.owner}` },
		sender: account(pusher, publicUrl, "User"),
		created,
		deleted,
		forced,
		base_ref: null,
		compare: created
			? `${url}/commit/${update.after.slice(0, 12)}`
			: `${url}/compare/${update.before.slice(0, 12)}...${update.after.slice(0, 12)}`,
		commits,
		head_commit: deleted ? null : await commitPayload(repository, update.after, url, true),
	};
}

/** The payload of the `ping` event that GitHub sends when a webhook is set. */
export function pingPayload(hook: { url: string }, organization: string, publicUrl: string) {
	return {
		zen: "Half measures are as bad as nothing at all.",
		hook_id: 1,
		hook: { type: "Organization", id: 1, name: "web", active: true, events: ["push"], config: { url: hook.url } },
		organization: { login: organization, id: 1, url: `${publicUrl}/api/v3/orgs/${organization}` },
		sender: account(organization, publicUrl, "User"),
	};
}

/** A commit as payloads have it. */
export async function commitPayload(
	repository: Repository,
	sha: string,
	url: string,
	distinct: boolean,
): Promise<CommitPayload> {
	const { stdout } = await git(repository.directory, [
		...["show", "--no-patch", "--format=%H%x00%T%x00%cI%x00%an%x00%ae%x00%cn%x00%ce%x00%B", `${sha}^{commit}`],
	]);
	const [
		id = "",
		tree = "",
		timestamp = "",
		author = "",
		authorEmail = "",
		committer = "",
		committerEmail = "",
		message = "",
	] = stdout.split("\0");
	const { stdout: changes } = await git(repository.directory, [
		...[
			"diff-tree",
			"--root",
			"-r",
			"-z",
			"--no-commit-id",
			"--name-status",
			"--no-renames",
			"-m",
			"--first-parent",
			id,
		],
	]);
	const files: Record<"A" | "D" | "M", string[]> = { A: [], D: [], M: [] };
	const fields = changes.split("\0");
	for (let index = 0; index + 1 < fields.length; index += 2) {
		const status = fields[index];
		const path = fields[index + 1] as string;
		files[status === "A" || status === "D" ? status : "M"].push(path);
	}
	return {
		id,
		tree_id: tree,
		distinct,
		message: message.trimEnd(),
		timestamp,
		url: `${url}/commit/${id}`,
		author: { name: author, email: authorEmail, username: author },
		committer: { name: committer, email: committerEmail, username: committer },
		added: files.A,
		removed: files.D,
		modified: files.M,
	};
}

function lines(text: string): string[] {
	return text.split("\n").filter((line) => line !== "");
}

/** The headers of a delivery: the signatures are HMACs of the body's bytes, keyed with the hook's secret. */
export function deliveryHeaders(event: string, id: string, secret: string, body: string): Record<string, string> {
	const hmac = (algorithm: string) => createHmac(algorithm, secret).update(body).digest("hex");
	return {
		accept: "*/*",
		"content-type": "application/json",
		"user-agent": `GitHub-Hookshot/${id.slice(0, 7)}`,
		"x-github-delivery": id,
		"x-github-event": event,
		"x-github-hook-id": "1",
		"x-github-hook-installation-target-type": "organization",
		"x-hub-signature": `sha1=${hmac("sha1")}`,
		"x-hub-signature-256": `sha256=${hmac("sha256")}`,
	};
}
