import { timingSafeEqual } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { z } from "zod";
import { runBackend } from "./backend.ts";
import { Deliveries, type DeliveryOptions } from "./deliveries.ts";
import { ApiError } from "./error.ts";
import { nameSchema, shaSchema } from "./names.ts";
import { type Configuration, type Settings, settingsSchema } from "./options.ts";
import { pageOf, pageSchema } from "./pages.ts";
import { hasCommit, Repositories, type Repository, readFileAt, readRefs } from "./repositories.ts";
import { serveFile } from "./site.ts";
import { combine, newStatusSchema, Statuses } from "./statuses.ts";
import { commitPayload, pingPayload, pushPayload, refUpdates, repositoryPayload } from "./webhook.ts";

export interface GitHub {
	/** What the world sees: git, the API, the static sites. */
	public: FastifyInstance;
	/** For whoever runs the server. Has no authentication: to be offered on a Unix socket only. */
	admin: FastifyInstance;
	deliveries: Deliveries;
	close(): Promise<void>;
}

const repositoryParams = z.strictObject({ owner: nameSchema, name: nameSchema });
/** The organisation that the webhook belongs to; it is there without a repository. */
const ORGANIZATION = "flathub";

const listQuery = pageSchema.extend({
	sort: z.enum(["pushed", "full_name"]).default("full_name"),
	direction: z.enum(["asc", "desc"]).optional(),
});
const fileQuery = z.strictObject({ ref: shaSchema });
const RAW = "application/vnd.github.raw+json";

const commitParams = z.strictObject({ owner: nameSchema, name: nameSchema, sha: shaSchema });

/** A stand-in for github.com as far as Flathub uses it. Listens on nothing yet. */
export function createGitHub(
	configuration: Pick<Configuration, "stateDir" | "publicUrl" | "sites" | "settings">,
	deliveryOptions: DeliveryOptions = {},
): GitHub {
	mkdirSync(configuration.stateDir, { recursive: true });
	const { publicUrl, sites } = configuration;
	const apiUrl = `${publicUrl}/api/v3`;
	const repositories = new Repositories(join(configuration.stateDir, "repositories"));
	const statuses = new Statuses(join(configuration.stateDir, "statuses"));
	const deliveries = new Deliveries(join(configuration.stateDir, "deliveries.jsonl"), deliveryOptions);
	let settings: Settings = configuration.settings;
	/** Pushes are announced to nobody, as when GitHub can't reach the hook. */
	let losesDeliveries = false;
	/** Pushes to one repository, one after another: a push's refs are compared around it. */
	const pushes = new Map<string, Promise<unknown>>();

	async function receivePack(repository: Repository, user: string, reply: FastifyReply, run: () => Promise<void>) {
		const key = repository.directory;
		const push = (pushes.get(key) ?? Promise.resolve()).then(async () => {
			// git's client may be told to go before the refs are compared.
			const lost = losesDeliveries;
			const before = await readRefs(key);
			await run();
			const after = await readRefs(key);
			const updates = refUpdates(before, after);
			if (updates.length > 0) await repositories.notePush(repository);
			for (const update of updates) {
				if (settings.hook === null || lost) continue;
				const payload = await pushPayload(repository, update, before, user, publicUrl);
				void deliveries.send(settings.hook, {
					event: "push",
					payload,
					repository: `${repository.owner}/${repository.name}`,
					ref: update.ref,
					after: update.after,
				});
			}
		});
		pushes.set(
			key,
			push.catch(() => {}),
		);
		await push;
		return reply;
	}

	const describeRepository = (repository: Repository) => ({
		...repositoryPayload(repository, publicUrl),
		// GitHub's times have no fractions.
		pushed_at: repository.pushedAt === null ? null : repository.pushedAt.toISOString().replace(/\.[0-9]+/, ""),
	});

	const app = fastify({ logger: false, bodyLimit: 1024 * 1024, requestTimeout: 0 });
	app.setErrorHandler(sendError);
	app.setNotFoundHandler((_request, reply) =>
		reply.code(404).send({ message: "Not Found", documentation_url: apiUrl }),
	);
	// git's bodies go to git as they come, however long they are.
	for (const service of ["git-upload-pack", "git-receive-pack"]) {
		app.addContentTypeParser(`application/x-${service}-request`, { bodyLimit: 2 ** 40 }, (_request, payload, done) => {
			done(null, payload);
		});
	}

	app.addHook("onRequest", async (request, reply) => {
		const site = sites[request.hostname];
		if (site === undefined) {
			// Who gives no token may read; a wrong one is refused, as GitHub does.
			const { authorization } = request.headers;
			if (request.url.startsWith("/api/v3/") && authorization !== undefined && !hasToken(authorization, settings.token))
				throw new ApiError(401, "Bad credentials");
			return;
		}
		if (request.method !== "GET" && request.method !== "HEAD")
			return reply.code(405).send({ message: "Method Not Allowed" });
		return serveFile(site, request, reply);
	});

	// --- git over HTTP, with and without .git at the end, as GitHub has it
	const gitRoute = async (request: FastifyRequest, reply: FastifyReply, service: string) => {
		const params = z.object({ owner: nameSchema, name: nameSchema }).safeParse(request.params);
		if (!params.success) throw new ApiError(404, "Not Found");
		const repository = await repositories.find(params.data.owner, params.data.name.replace(/\.git$/, ""));
		const query = request.url.split("?")[1] ?? "";
		const isPush = service === "git-receive-pack" || new URLSearchParams(query).get("service") === "git-receive-pack";
		const user = isPush ? pushUser(request.headers.authorization, settings.token) : undefined;
		if (isPush && user === undefined) {
			return reply.code(401).header("www-authenticate", 'Basic realm="GitHub"').send({ message: "Bad credentials" });
		}
		const answer = async () => {
			const response = await runBackend({
				directory: repository.directory,
				service,
				method: request.method,
				query,
				headers: {
					contentType: request.headers["content-type"],
					contentEncoding: request.headers["content-encoding"],
					protocol: request.headers["git-protocol"] as string | undefined,
				},
				...(user !== undefined && { user }),
				body: request.body as Readable | undefined,
			});
			for (const [name, value] of response.headers) reply.header(name, value);
			reply.code(response.status).send(response.body);
			await response.finished;
		};
		if (service === "git-receive-pack" && user !== undefined) return receivePack(repository, user, reply, answer);
		await answer();
		return reply;
	};
	app.get("/:owner/:name/info/refs", (request, reply) => gitRoute(request, reply, "info/refs"));
	app.post("/:owner/:name/git-upload-pack", (request, reply) => gitRoute(request, reply, "git-upload-pack"));
	app.post("/:owner/:name/git-receive-pack", (request, reply) => gitRoute(request, reply, "git-receive-pack"));

	// --- the API
	const api = "/api/v3/repos/:owner/:name";
	app.get(api, async (request) => {
		const { owner, name } = parse(repositoryParams, request.params);
		return describeRepository(await repositories.find(owner, name));
	});
	app.get("/api/v3/orgs/:owner/repos", async (request, reply) => {
		const { owner } = parse(z.strictObject({ owner: nameSchema }), request.params);
		const query = parse(listQuery.strict(), request.query);
		const owned = (await repositories.list()).filter((repository) => repository.owner === owner);
		if (owned.length === 0 && owner !== ORGANIZATION) throw new ApiError(404, "Not Found");
		// GitHub's default: by name upwards, by time downwards.
		const descending = (query.direction ?? (query.sort === "pushed" ? "desc" : "asc")) === "desc";
		const pushed = ({ pushedAt }: Repository) => pushedAt?.getTime() ?? 0;
		const sorted = owned.sort((a, b) =>
			query.sort === "pushed" ? pushed(a) - pushed(b) : a.name < b.name ? -1 : Number(a.name > b.name),
		);
		const { items, link } = pageOf(
			descending ? sorted.reverse() : sorted,
			query,
			new URL(`${publicUrl}${request.url}`),
		);
		if (link !== undefined) reply.header("link", link);
		return items.map(describeRepository);
	});
	app.get(`${api}/contents/*`, async (request, reply) => {
		const { "*": path, ...params } = request.params as Record<string, string>;
		const { owner, name } = parse(repositoryParams, params);
		const { ref } = parse(fileQuery, request.query);
		if (request.headers.accept !== RAW) throw new ApiError(415, `Accept: expected ${RAW}`);
		const { directory } = await repositories.find(owner, name);
		if (!(await hasCommit(directory, ref))) throw new ApiError(404, `No commit found for the ref ${ref}`);
		const content = await readFileAt(directory, ref, path ?? "");
		if (content === undefined) throw new ApiError(404, "Not Found");
		return reply.type(`${RAW}; charset=utf-8`).send(content);
	});
	app.get(`${api}/branches/*`, async (request) => {
		const { "*": branch = "", ...params } = request.params as Record<string, string>;
		const { owner, name } = parse(repositoryParams, params);
		const repository = await repositories.find(owner, name);
		const sha = (await readRefs(repository.directory)).get(`refs/heads/${branch}`);
		if (sha === undefined) throw new ApiError(404, "Branch not found");
		const page = `${publicUrl}/${owner}/${name}`;
		const { message, timestamp, url, author, committer } = await commitPayload(repository, sha, page, true);
		const dated = (person: typeof author) => ({ name: person.name, email: person.email, date: timestamp });
		return {
			name: branch,
			commit: {
				sha,
				url: `${apiUrl}/repos/${owner}/${name}/commits/${sha}`,
				html_url: url,
				commit: { message, author: dated(author), committer: dated(committer) },
			},
			protected: false,
		};
	});
	app.get(`${api}/commits/:sha/status`, async (request) => {
		const { owner, name, sha } = parse(commitParams, request.params);
		parse(pageSchema.strict(), request.query);
		const { directory } = await repositories.find(owner, name);
		if (!(await hasCommit(directory, sha))) throw new ApiError(422, `No commit found for SHA: ${sha}`);
		const { state, statuses: last } = combine(await statuses.list(owner, name, sha));
		return { state, statuses: last, sha, total_count: last.length };
	});
	app.get(`${api}/branches`, async (request) => {
		const { owner, name } = parse(repositoryParams, request.params);
		const { directory } = await repositories.find(owner, name);
		return [...(await readRefs(directory))]
			.filter(([ref]) => ref.startsWith("refs/heads/"))
			.map(([ref, sha]) => ({
				name: ref.slice("refs/heads/".length),
				commit: { sha, url: `${apiUrl}/repos/${owner}/${name}/commits/${sha}` },
				protected: false,
			}));
	});
	app.get(`${api}/commits/:sha/statuses`, async (request) => {
		const { owner, name, sha } = parse(commitParams, request.params);
		await repositories.find(owner, name);
		return statuses.list(owner, name, sha);
	});
	app.post(`${api}/statuses/:sha`, async (request, reply) => {
		if (!hasToken(request.headers.authorization, settings.token)) throw new ApiError(401, "Bad credentials");
		const { owner, name, sha } = parse(commitParams, request.params);
		const { directory } = await repositories.find(owner, name);
		const status = parse(newStatusSchema, request.body);
		if (!(await hasCommit(directory, sha))) throw new ApiError(422, `No commit found for SHA: ${sha}`);
		return reply.code(201).send(await statuses.add(owner, name, sha, status, apiUrl));
	});

	// --- administration
	const admin = fastify({ logger: false });
	admin.setErrorHandler(sendError);
	admin.get("/admin/health", async () => ({ ok: true }));
	admin.get("/admin/repositories", async () =>
		(await repositories.list()).map((repository) => repositoryPayload(repository, publicUrl)),
	);
	admin.put("/admin/repositories/:owner/:name", async (request) => {
		const { owner, name } = parse(repositoryParams, request.params);
		return repositoryPayload(await repositories.create(owner, name), publicUrl);
	});
	admin.get("/admin/statuses/:owner/:name/:sha", async (request) => {
		const { owner, name, sha } = parse(commitParams, request.params);
		return statuses.list(owner, name, sha);
	});
	admin.get("/admin/deliveries", async () => deliveries.list());
	admin.get("/admin/hook", async () => ({ url: settings.hook?.url ?? null }));
	admin.put("/admin/lose-deliveries", async (request) => {
		losesDeliveries = parse(z.strictObject({ lose: z.boolean() }), request.body).lose;
		return { ok: true };
	});
	admin.put("/admin/settings", async (request) => {
		const previous = settings.hook;
		settings = parse(settingsSchema, request.body);
		const { hook } = settings;
		if (hook !== null && (hook.url !== previous?.url || hook.secret !== previous.secret)) {
			void deliveries.send(hook, { event: "ping", payload: pingPayload(hook, ORGANIZATION, publicUrl) });
		}
		return { ok: true };
	});

	return {
		public: app,
		admin,
		deliveries,
		async close() {
			await Promise.all([app.close(), admin.close()]);
			// What was pushed is still announced, once.
			await Promise.all(pushes.values());
			await deliveries.stop();
		},
	};
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
	const result = schema.safeParse(value);
	if (result.success) return result.data;
	const errors = result.error.issues.map((issue) => ({ field: issue.path.join("."), message: issue.message }));
	const what = errors.map(({ field, message }) => `${field || "body"}: ${message}`).join("; ");
	throw new ApiError(422, `Validation Failed: ${what}`, errors);
}

function sendError(error: Error & { statusCode?: number }, _request: FastifyRequest, reply: FastifyReply) {
	const status = error.statusCode ?? 500;
	if (status >= 500) console.error(error);
	const errors = error instanceof ApiError && error.errors !== undefined ? { errors: error.errors } : {};
	return reply.code(status).send({ message: error.message, ...errors });
}

function sameSecret(given: string, expected: string): boolean {
	const [a, b] = [Buffer.from(given), Buffer.from(expected)];
	return a.length === b.length && timingSafeEqual(a, b);
}

/** GitHub's API takes `Bearer TOKEN` and the older `token TOKEN`, which Buildbot sends. */
function hasToken(authorization: string | undefined, token: string): boolean {
	const match = /^(?:bearer|token) (\S+)$/i.exec(authorization ?? "");
	return match !== null && sameSecret(match[1] as string, token);
}

/** git sends a token as the password of basic authentication; the user's name is free. */
function pushUser(authorization: string | undefined, token: string): string | undefined {
	const match = /^basic (\S+)$/i.exec(authorization ?? "");
	const [user = "", ...password] = Buffer.from(match?.[1] ?? "", "base64")
		.toString()
		.split(":");
	return sameSecret(password.join(":"), token) ? user || "git" : undefined;
}
