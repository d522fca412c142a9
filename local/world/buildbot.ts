import { z } from "zod";

const property = z.tuple([z.unknown(), z.string()]);
const buildsSchema = z.object({
	builds: z.array(
		z.object({
			buildid: z.number(),
			builderid: z.number(),
			workerid: z.number(),
			complete: z.boolean(),
			results: z.number().nullable(),
			started_at: z.number(),
			complete_at: z.number().nullable(),
			properties: z.record(z.string(), property),
		}),
	),
});
const buildersSchema = z.object({ builders: z.array(z.object({ builderid: z.number(), name: z.string() })) });
const workersSchema = z.object({
	workers: z.array(z.object({ workerid: z.number(), name: z.string(), connected_to: z.array(z.unknown()) })),
});

const stepsSchema = z.object({
	steps: z.array(
		z.object({
			stepid: z.number(),
			name: z.string(),
			started_at: z.number().nullable(),
			complete_at: z.number().nullable(),
		}),
	),
});

/** A step of a build. */
export interface Step {
	id: number;
	name: string;
	/** Unix times in whole seconds, as Buildbot keeps them. */
	started: number | null;
	ended: number | null;
}

/** A build as Buildbot's REST API tells of it. */
export interface Build {
	id: number;
	/** Such as `app`, `build-arm`, `publish-2`. */
	builder: string;
	worker: string;
	app: string;
	commit: string;
	complete: boolean;
	/** 0 is success. */
	results: number | null;
	/** Unix times in seconds. */
	started: number;
	ended: number | null;
}

/** Buildbot's REST API, as the world sees it through front. */
export class Buildbot {
	readonly #api: string;

	constructor(publicAddress: string) {
		this.#api = `http://${publicAddress}/builds/api/v2`;
	}

	async #get<T>(path: string, schema: z.ZodType<T>): Promise<T> {
		const response = await fetch(`${this.#api}/${path}`, { signal: AbortSignal.timeout(20_000) });
		if (!response.ok) throw new Error(`Buildbot: ${path}: HTTP ${response.status}`);
		return schema.parse(await response.json());
	}

	/** The newest builds first, at most 500, those of one commit only if it is given. */
	async builds(commit?: string): Promise<Build[]> {
		const [{ builds }, { builders }, { workers }] = await Promise.all([
			this.#get("builds?order=-buildid&limit=500&property=*", buildsSchema),
			this.#get("builders", buildersSchema),
			this.#get("workers", workersSchema),
		]);
		const text = (value: [unknown, string] | undefined) => String(value?.[0] ?? "");
		return builds
			.map((build) => ({
				id: build.buildid,
				builder: builders.find(({ builderid }) => builderid === build.builderid)?.name ?? "",
				worker: workers.find(({ workerid }) => workerid === build.workerid)?.name ?? "",
				app: text(build.properties.app),
				commit: text(build.properties.commit) || text(build.properties.revision),
				complete: build.complete,
				results: build.results,
				started: build.started_at,
				ended: build.complete_at,
			}))
			.filter((build) => commit === undefined || build.commit === commit);
	}

	/** The steps of a build in their order. */
	async steps(build: number): Promise<Step[]> {
		const { steps } = await this.#get(`builds/${build}/steps`, stepsSchema);
		return steps.map(({ stepid, name, started_at, complete_at }) => ({
			id: stepid,
			name,
			started: started_at,
			ended: complete_at,
		}));
	}

	/** What a step printed. */
	async log(step: number): Promise<string> {
		const response = await fetch(`${this.#api}/steps/${step}/logs/stdio/raw_inline`, {
			signal: AbortSignal.timeout(20_000),
		});
		if (!response.ok) throw new Error(`Buildbot: the log of step ${step}: HTTP ${response.status}`);
		return response.text();
	}

	/** Names of the workers that are connected now. */
	async connectedWorkers(): Promise<string[]> {
		const { workers } = await this.#get("workers", workersSchema);
		return workers.filter(({ connected_to }) => connected_to.length > 0).map(({ name }) => name);
	}
}
