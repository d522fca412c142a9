import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { account } from "../../settings.ts";
import { createApi } from "../api/app.ts";
import { Cloud } from "../cloud.ts";
import { loadState, saveState } from "../state.ts";
import { MemoryHypervisor } from "./memory-hypervisor.ts";

export interface Answer {
	status: number;
	headers: Headers;
	/** Parsed if it is JSON, else the text. */
	// biome-ignore lint/suspicious/noExplicitAny: each test says by its expectations what it takes the answer for.
	body: any;
}

/** A local cloud on a port of the system's choice, with its state in a directory of its own. */
export async function startCloud(stateDirectory = mkdtempSync(join(tmpdir(), "t-cloud-"))) {
	const hypervisor = new MemoryHypervisor();
	const lines: string[] = [];
	const log = (line: string) => void lines.push(line);
	const cloud = new Cloud({
		state: loadState(stateDirectory),
		hypervisor,
		save: (state) => saveState(stateDirectory, state),
		log,
	});
	const api = createApi(cloud, log);
	cloud.resume();
	const url = await api.listen({ host: "127.0.0.1", port: 0 });

	const request = async (
		method: string,
		path: string,
		body?: unknown,
		headers: Record<string, string> = {},
	): Promise<Answer> => {
		const isText = typeof body === "string";
		const response = await fetch(url + path, {
			method,
			headers: {
				"x-auth-token": account.secretKey,
				...(body === undefined ? {} : { "content-type": isText ? "text/plain" : "application/json" }),
				...headers,
			},
			...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) }),
		});
		const text = await response.text();
		const isJson = response.headers.get("content-type")?.startsWith("application/json") && text !== "";
		return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
	};
	return {
		cloud,
		hypervisor,
		url,
		lines,
		stateDirectory,
		request,
		/** Ends the API as a kill would: what is under way is left as it is. */
		close: () => api.close(),
		remove: async () => {
			await api.close();
			await cloud.settled();
			rmSync(stateDirectory, { recursive: true });
		},
	};
}

export type CloudFixture = Awaited<ReturnType<typeof startCloud>>;
