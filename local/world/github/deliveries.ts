import { randomUUID } from "node:crypto";
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Hook } from "./options.ts";
import { deliveryHeaders } from "./webhook.ts";

export interface Delivery {
	/** The X-GitHub-Delivery header. */
	id: string;
	event: string;
	/** `owner/name`, or null for a ping. */
	repository: string | null;
	ref: string | null;
	after: string | null;
	url: string;
	attempts: number;
	/** The last answer's status code; null: no answer came. */
	status: number | null;
	/** The last answer's body or error, cut to 1,000 characters. */
	response: string;
	/** When the last attempt ended, ISO 8601. */
	finishedAt: string;
}

export interface DeliverySubject {
	event: string;
	payload: unknown;
	repository?: string;
	ref?: string;
	after?: string;
}

export interface DeliveryOptions {
	/** Waits between attempts; their number bounds the attempts. GitHub itself tries once and leaves the rest to people. */
	retryDelaysSeconds?: readonly number[];
	/** GitHub gives up on an answer after 10 s. */
	timeoutSeconds?: number;
}

/** Sends webhooks one after another, in the order of the pushes, and remembers what became of each. */
export class Deliveries {
	readonly #file: string;
	readonly #options: Required<DeliveryOptions>;
	readonly #stopped = new AbortController();
	#queue: Promise<unknown> = Promise.resolve();

	constructor(file: string, options: DeliveryOptions = {}) {
		this.#file = file;
		this.#options = { retryDelaysSeconds: [1, 2, 4, 8, 16], timeoutSeconds: 10, ...options };
	}

	/** Queue a delivery. The promise ends when it was accepted or given up. */
	send(hook: Hook, subject: DeliverySubject): Promise<Delivery> {
		const delivery = this.#queue.then(() => this.#deliver(hook, subject));
		this.#queue = delivery.catch(() => {});
		return delivery;
	}

	/** All deliveries that ended, the oldest first. */
	async list(): Promise<Delivery[]> {
		const text = await readFile(this.#file, "utf8").catch(() => "");
		return text
			.split("\n")
			.filter((line) => line !== "")
			.map((line) => JSON.parse(line) as Delivery);
	}

	/** No further attempts; returns when the running one ended. */
	async stop(): Promise<void> {
		this.#stopped.abort();
		await this.#queue;
	}

	async #deliver(hook: Hook, subject: DeliverySubject): Promise<Delivery> {
		const body = JSON.stringify(subject.payload);
		const id = randomUUID();
		const delivery: Delivery = {
			id,
			event: subject.event,
			repository: subject.repository ?? null,
			ref: subject.ref ?? null,
			after: subject.after ?? null,
			url: hook.url,
			attempts: 0,
			status: null,
			response: "",
			finishedAt: "",
		};
		const headers = deliveryHeaders(subject.event, id, hook.secret, body);
		for (const wait of [...this.#options.retryDelaysSeconds, null]) {
			if (this.#stopped.signal.aborted) break;
			delivery.attempts += 1;
			try {
				const response = await fetch(hook.url, {
					method: "POST",
					headers,
					body,
					redirect: "manual",
					signal: AbortSignal.any([AbortSignal.timeout(this.#options.timeoutSeconds * 1000), this.#stopped.signal]),
				});
				delivery.status = response.status;
				delivery.response = (await response.text()).slice(0, 1000);
			} catch (error) {
				delivery.status = null;
				delivery.response = String((error as Error).cause ?? error).slice(0, 1000);
			}
			// A refusal (4xx) stays one; an absent or failing receiver may come back.
			if ((delivery.status !== null && delivery.status < 500) || wait === null) break;
			await delay(wait * 1000, undefined, { signal: this.#stopped.signal }).catch(() => {});
		}
		delivery.finishedAt = new Date().toISOString();
		await mkdir(dirname(this.#file), { recursive: true });
		await appendFile(this.#file, `${JSON.stringify(delivery)}\n`);
		return delivery;
	}
}
