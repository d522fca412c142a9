import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { run } from "../../../process/run.ts";
import { createGitHub, type GitHub } from "./app.ts";
import { GIT_ENVIRONMENT } from "./repositories.ts";

const TOKEN = "a-token";
const SECRET = "a-secret";

interface Received {
	headers: IncomingHttpHeaders;
	body: string;
}

let root: string;
let github: GitHub;
let url: string;
let receiver: Server;
let received: Received[];
/** Answers of the webhook's receiver, the last one for good. */
let answers: number[];

beforeEach(async () => {
	root = await mkdtemp(join(tmpdir(), "github-test-"));
	received = [];
	answers = [200];
	receiver = createServer(async (request, response) => {
		let body = "";
		for await (const chunk of request) body += chunk;
		received.push({ headers: request.headers, body });
		response.writeHead((answers.length > 1 ? answers.shift() : answers[0]) as number).end();
	});
	await once(receiver.listen(0, "127.0.0.1"), "listening");
	await mkdir(join(root, "site"));
	await writeFile(join(root, "site/file"), "served");
	await writeFile(join(root, "outside"), "not served");
	github = createGitHub(
		{
			stateDir: join(root, "state"),
			publicUrl: "http://github.test",
			sites: { "runtimes.test": { "/": join(root, "site") } },
			settings: { token: TOKEN, hook: null },
		},
		{ retryDelaysSeconds: [0.01, 0.01], timeoutSeconds: 5 },
	);
	url = await github.public.listen({ host: "127.0.0.1", port: 0 });
	const hook = { url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`, secret: SECRET };
	await github.admin.inject({ method: "PUT", url: "/admin/settings", payload: { token: TOKEN, hook } });
	await github.admin.inject({ method: "PUT", url: "/admin/repositories/flathub/org.example.App" });
	// The ping that GitHub sends to a new hook.
	await expect.poll(() => received.length).toBe(1);
	expect(received.shift()?.headers["x-github-event"]).toBe("ping");
});

afterEach(async () => {
	await github.close();
	receiver.closeAllConnections();
	receiver.close();
	await rm(root, { recursive: true });
});

const git = (...args: string[]) =>
	run(["git", "-c", "user.name=A", "-c", "user.email=a@example.org", ...args], {
		cwd: root,
		env: { ...process.env, ...GIT_ENVIRONMENT },
	});

const remote = (password = TOKEN) => `${url.replace("http://", `http://me:${password}@`)}/flathub/org.example.App`;

async function commit(name: string, content: string): Promise<string> {
	await writeFile(join(root, "tree", name), content);
	await git("-C", "tree", "add", "--all");
	await git("-C", "tree", "commit", "--quiet", `--message=${name}`);
	return (await git("-C", "tree", "rev-parse", "HEAD")).stdout.trim();
}

async function pushFirst(): Promise<string> {
	await git("init", "--quiet", "--initial-branch=master", "tree");
	const sha = await commit("one", "1");
	await git("-C", "tree", "push", "--quiet", remote(), "master");
	return sha;
}

describe("a push over HTTP", () => {
	it("is announced by exactly one signed delivery with what Buildbot reads", async () => {
		const sha = await pushFirst();
		await expect.poll(async () => (await github.deliveries.list()).length).toBe(2);
		expect(received).toHaveLength(1);
		const { headers, body } = received[0] as Received;
		expect(headers["x-github-event"]).toBe("push");
		expect(headers["x-hub-signature"]).toBe(`sha1=${createHmac("sha1", SECRET).update(body).digest("hex")}`);
		expect(headers["x-hub-signature-256"]).toBe(`sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`);
		expect(headers["x-github-delivery"]).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
		const expectedCommit = {
			id: sha,
			distinct: true,
			message: "one",
			url: `http://github.test/flathub/org.example.App/commit/${sha}`,
			author: { name: "A", email: "a@example.org", username: "A" },
			added: ["one"],
			removed: [],
			modified: [],
		};
		expect(JSON.parse(body)).toMatchObject({
			ref: "refs/heads/master",
			before: "0".repeat(40),
			after: sha,
			created: true,
			deleted: false,
			forced: false,
			compare: `http://github.test/flathub/org.example.App/commit/${sha.slice(0, 12)}`,
			commits: [expectedCommit],
			head_commit: expectedCommit,
			pusher: { name: "me" },
			sender: { login: "me" },
			repository: {
				name: "org.example.App",
				full_name: "flathub/org.example.App",
				html_url: "http://github.test/flathub/org.example.App",
				clone_url: "http://github.test/flathub/org.example.App.git",
				default_branch: "master",
				owner: { name: "flathub", login: "flathub" },
			},
		});
	});

	it("names only what a branch gained, tells a forced push, and a deletion without a head", async () => {
		const first = await pushFirst();
		const second = await commit("one", "2");
		await git("-C", "tree", "push", "--quiet", remote(), "master");
		await git("-C", "tree", "reset", "--quiet", "--hard", first);
		await git("-C", "tree", "push", "--quiet", "--force", remote(), "master", "master:other");
		await git("-C", "tree", "push", "--quiet", remote(), ":other");
		await expect.poll(() => received.length).toBe(5);
		const payloads = received.map(({ body }) => JSON.parse(body));
		expect(payloads[1]).toMatchObject({ before: first, after: second, created: false, forced: false });
		expect(payloads[1].commits).toMatchObject([{ id: second, added: [], modified: ["one"] }]);
		expect(payloads[2]).toMatchObject({ ref: "refs/heads/master", after: first, forced: true, commits: [] });
		expect(payloads[3]).toMatchObject({ ref: "refs/heads/other", created: true, commits: [] });
		expect(payloads[4]).toMatchObject({ deleted: true, after: "0".repeat(40), commits: [], head_commit: null });
	});

	it("is refused without the token, and nothing is announced", async () => {
		await git("init", "--quiet", "--initial-branch=master", "tree");
		await commit("one", "1");
		await expect(git("-C", "tree", "push", "--quiet", remote("wrong"), "master")).rejects.toThrow(
			/Authentication failed|403/,
		);
		expect(await github.deliveries.list()).toHaveLength(1);
	});

	it("can be fetched by anybody, with and without .git", async () => {
		const sha = await pushFirst();
		for (const suffix of ["", ".git"]) {
			const { stdout } = await git("ls-remote", `${url}/flathub/org.example.App${suffix}`, "refs/heads/master");
			expect(stdout).toContain(sha);
		}
		await git("clone", "--quiet", `${url}/flathub/org.example.App.git`, "clone");
	});

	it("can be fetched by a commit's id alone, when no branch leads to it any more", async () => {
		const first = await pushFirst();
		await git("-C", "tree", "commit", "--quiet", "--amend", "--message=another");
		await git("-C", "tree", "push", "--quiet", "--force", remote(), "master");
		await git("init", "--quiet", "--bare", "fetched");
		await git("-C", "fetched", "fetch", "--quiet", "--depth=1", `${url}/flathub/org.example.App.git`, first);
		expect((await git("-C", "fetched", "cat-file", "-t", first)).stdout).toBe("commit");
	});

	it("is announced again while the receiver fails, and given up after three attempts", async () => {
		answers = [503, 200];
		await pushFirst();
		await expect
			.poll(async () => (await github.deliveries.list()).at(-1))
			.toMatchObject({ event: "push", attempts: 2, status: 200 });
		answers = [500];
		await commit("two", "2");
		await git("-C", "tree", "push", "--quiet", remote(), "master");
		await expect.poll(async () => (await github.deliveries.list()).at(-1)).toMatchObject({ attempts: 3, status: 500 });
	});
});

describe("commit statuses", () => {
	const post = (sha: string, body: unknown, authorization = `Bearer ${TOKEN}`) =>
		fetch(`${url}/api/v3/repos/flathub/org.example.App/statuses/${sha}`, {
			method: "POST",
			headers: { authorization, "content-type": "application/json" },
			body: JSON.stringify(body),
		});

	it("are kept, the newest first", async () => {
		const sha = await pushFirst();
		expect((await post(sha, { state: "pending", context: "flathub/publish" })).status).toBe(201);
		expect(
			(
				await post(
					sha,
					{ state: "success", context: "flathub/publish", target_url: "http://x.test/" },
					`token ${TOKEN}`,
				)
			).status,
		).toBe(201);
		const response = await fetch(`${url}/api/v3/repos/flathub/org.example.App/commits/${sha}/statuses`);
		expect(await response.json()).toMatchObject([
			{ id: 2, state: "success", context: "flathub/publish", target_url: "http://x.test/", description: null },
			{ id: 1, state: "pending" },
		]);
	});

	it.each([
		["an unknown state", { state: "done" }, 422, /state/],
		["no state", { context: "x" }, 422, /state/],
		["an unknown field", { state: "success", contxt: "x" }, 422, /contxt/],
		["a long description", { state: "success", description: "x".repeat(141) }, 422, /maximum is 140/],
	])("with %s are refused", async (_what, body, status, message) => {
		const response = await post(await pushFirst(), body);
		expect(response.status).toBe(status);
		expect(((await response.json()) as { message: string }).message).toMatch(message);
	});

	it("of a commit that is not there, or without the token, are refused", async () => {
		await pushFirst();
		const unknown = await post("1".repeat(40), { state: "success" });
		expect(unknown.status).toBe(422);
		expect(await unknown.json()).toMatchObject({ message: `No commit found for SHA: ${"1".repeat(40)}` });
		expect((await post("1".repeat(40), { state: "success" }, "Bearer wrong")).status).toBe(401);
	});
});

describe("the rest of the API", () => {
	it("describes a repository and its branches, and knows no other", async () => {
		const sha = await pushFirst();
		const api = `${url}/api/v3/repos/flathub`;
		expect(await (await fetch(`${api}/org.example.App`)).json()).toMatchObject({ default_branch: "master" });
		expect(await (await fetch(`${api}/org.example.App/branches`)).json()).toMatchObject([
			{ name: "master", commit: { sha } },
		]);
		expect((await fetch(`${api}/org.example.Other`)).status).toBe(404);
		expect((await fetch(`${api}/..%2f..%2fstate`)).status).toBe(422);
	});
});

describe("what the master asks of the API", () => {
	const get = (path: string, headers: Record<string, string> = { authorization: `token ${TOKEN}` }) =>
		fetch(`${url}/api/v3/${path}`, { headers });
	const repository = "repos/flathub/org.example.App";

	it("lists an organisation's repositories by their last push, in pages that name the next", async () => {
		for (const name of ["org.example.B", "org.example.C"]) {
			await github.admin.inject({ method: "PUT", url: `/admin/repositories/flathub/${name}` });
		}
		await pushFirst();
		const first = await get("orgs/flathub/repos?sort=pushed&direction=desc&per_page=2");
		const repositories = (await first.json()) as { name: string; pushed_at: string | null; default_branch: string }[];
		expect(repositories[0]).toMatchObject({ name: "org.example.App", default_branch: "master" });
		expect(repositories[0]?.pushed_at).toMatch(/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
		expect(repositories[1]?.pushed_at).toBeNull();
		const next = /<([^>]*)>; rel="next"/.exec(first.headers.get("link") ?? "")?.[1];
		expect(next).toMatch(/^http:\/\/github\.test\/api\/v3\/orgs\/flathub\/repos\?.*page=2/);
		const second = await fetch((next as string).replace("http://github.test", url));
		expect(await second.json()).toHaveLength(1);
		expect(second.headers.get("link")).not.toContain("next");
		expect((await get("orgs/nobody/repos")).status).toBe(404);
		expect((await get("orgs/flathub/repos?order=pushed")).status).toBe(422);
		expect((await get("orgs/flathub/repos?per_page=101")).status).toBe(422);
	});

	it("gives a file at a commit as it is", async () => {
		const sha = await pushFirst();
		const raw = { accept: "application/vnd.github.raw+json", authorization: `token ${TOKEN}` };
		expect(await (await get(`${repository}/contents/one?ref=${sha}`, raw)).text()).toBe("1");
		expect((await get(`${repository}/contents/two?ref=${sha}`, raw)).status).toBe(404);
		expect((await get(`${repository}/contents/one?ref=${"1".repeat(40)}`, raw)).status).toBe(404);
		expect((await get(`${repository}/contents/one?ref=master`, raw)).status).toBe(422);
		expect((await get(`${repository}/contents/one?ref=${sha}`)).status).toBe(415);
	});

	it("tells a branch's head with its message", async () => {
		const sha = await pushFirst();
		await git("-C", "tree", "push", "--quiet", remote(), "master:refs/heads/a/b");
		for (const branch of ["master", "a%2Fb"]) {
			expect(await (await get(`${repository}/branches/${branch}`)).json()).toMatchObject({
				commit: {
					sha,
					html_url: `http://github.test/flathub/org.example.App/commit/${sha}`,
					commit: { message: "one", author: { name: "A" } },
				},
			});
		}
		expect((await get(`${repository}/branches/none`)).status).toBe(404);
	});

	it("combines the last status of each context", async () => {
		const sha = await pushFirst();
		const set = (context: string, state: string) =>
			fetch(`${url}/api/v3/${repository}/statuses/${sha}`, {
				method: "POST",
				headers: { authorization: `token ${TOKEN}`, "content-type": "application/json" },
				body: JSON.stringify({ context, state }),
			});
		const combined = async () => (await get(`${repository}/commits/${sha}/status?per_page=100`)).json();
		expect(await combined()).toMatchObject({ state: "pending", statuses: [], total_count: 0 });
		await set("a", "pending");
		await set("a", "success");
		expect(await combined()).toMatchObject({ state: "success", statuses: [{ context: "a", state: "success" }] });
		await set("b", "error");
		expect(await combined()).toMatchObject({ state: "failure", total_count: 2 });
		expect((await get(`${repository}/commits/${"1".repeat(40)}/status`)).status).toBe(422);
	});

	it("is refused with a wrong token", async () => {
		expect((await get("orgs/flathub/repos", { authorization: "token wrong" })).status).toBe(401);
		expect((await get("orgs/flathub/repos", {})).status).toBe(200);
	});
});

it("loses deliveries while it is told to", async () => {
	const lose = (value: boolean) =>
		github.admin.inject({ method: "PUT", url: "/admin/lose-deliveries", payload: { lose: value } });
	expect((await lose(true)).statusCode).toBe(200);
	await pushFirst();
	expect((await lose(false)).statusCode).toBe(200);
	const second = await commit("two", "2");
	await git("-C", "tree", "push", "--quiet", remote(), "master");
	await expect.poll(() => received.length).toBe(1);
	expect(JSON.parse(received[0]?.body ?? "")).toMatchObject({ after: second });
});

describe("a static site", () => {
	const get = (path: string) => github.public.inject({ url: path, headers: { host: "runtimes.test" } });

	it("serves what is in its folder only", async () => {
		expect((await get("/file")).body).toBe("served");
		for (const path of ["/../outside", "/%2e%2e/outside", "/..%2foutside", "/none"]) {
			expect((await get(path)).statusCode, path).toBe(404);
		}
	});
});
