import { existsSync, readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { account } from "../../settings.ts";
import { type Answer, type CloudFixture, startCloud } from "./cloud-fixture.ts";

/**
 * Conversations that Scaleway's Terraform provider had with the real API, held again with the local one: the same
 * requests with our ids, and answers of the same status and shape. They are not part of the project and lie beside it.
 */
const recordings = fileURLToPath(new URL("../../../../shared/scaleway-recordings/", import.meta.url));

interface Interaction {
	id: number;
	method: string;
	path: string;
	req: string;
	status: number;
	x_total_count: string | null;
	location: string | null;
	body: string;
}

const cassettes = [
	"block__volume-basic",
	"block__volume-update-iops",
	"iam__ssh-key-basic",
	"instance__ip-basic",
	"instance__private-nic-basic",
	"instance__security-group-basic",
	"instance__server-ips",
	"instance__server-migrate",
	"instance__server-minimal",
	"instance__server-root-volume-from-image-block",
	"instance__server-user-data-with-cloud-init-at-start",
	"instance__user-data-basic",
	"ipam__ipamip-basic",
	"vpc__vpc-basic",
	"vpc__vpc-private-network-basic",
];

/** Conversations that come to something the local cloud does not have, and the request they end at. */
const unserved: [cassette: string, request: RegExp][] = [
	["instance__placement-group-basic", /POST \/instance\/v2alpha1\/.*\/placement-groups/],
	["instance__server-additional-volumes", /POST \/instance\/v1\/.*\/volumes/],
	["vpc__data-source-route-by-filters", /POST \/vpc\/v2\/.*\/routes/],
];

/** What is not compared, and why. */
const tolerated = {
	/** Keys that the real API gives in some answers and not in others. */
	optionalKeys: new Set([
		"admin_password_encryption_ssh_key_id",
		"admin_password_encrypted_value",
		"kms_key_id",
		"transitivity_enabled",
		"organization_id",
		// Of a subnet; recordings before and after June 2026 differ.
		"region",
	]),
	/** Null or an object by how far along the server is. */
	untyped: new Set(["location"]),
	/** Longer in the real cloud: the keys are the types and the sample is ours. */
	bigLists: /\/products\/servers\?/,
};

const answerDeadlineSeconds = 5;
const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

class Replay {
	/** From what the recording calls a thing to what we call it: ids, public addresses. */
	private readonly names = new Map<string, string>();
	/** Lets the host go on with what it was asked for; undefined while it works without delay. */
	private release: (() => void) | undefined;
	constructor(private readonly fixture: CloudFixture) {}

	/**
	 * The host holds still after each change, so that an answer from the middle of it can be compared; it goes on when
	 * an answer shows that the real one had.
	 */
	private hold(): void {
		this.release ??= this.fixture.hypervisor.hold();
	}

	goOn(): void {
		this.release?.();
		this.release = undefined;
	}

	async run(interaction: Interaction): Promise<void> {
		const { method, req, status } = interaction;
		this.nameProject(req);
		const path = this.translate(interaction.path).replaceAll(/image_label=\w+/g, "image_label=debian_trixie");
		const body = req === "" ? undefined : this.requestBody(path, req);
		const recorded = parse(interaction);
		const deadline = Date.now() + answerDeadlineSeconds * 1000;
		let difference: string | undefined;
		if (method !== "GET") this.hold();
		for (;;) {
			const answer = await this.fixture.request(method, path, body);
			const found = this.compare(interaction, recorded, answer);
			difference ??= found;
			if (found === undefined) {
				this.learn(recorded, answer.body);
				return;
			}
			// Only a question can be asked again: the object may still be on its way to the state that was recorded.
			if (method !== "GET" || Date.now() > deadline) break;
			this.goOn();
			await setTimeout(20);
		}
		expect.fail(`#${interaction.id} ${method} ${path} (recorded: ${status}): ${difference}`);
	}

	/** The recording's project is whatever its first request names. */
	private nameProject(req: string): void {
		const id = /"project(?:_id)?":"([^"]+)"/.exec(req)?.[1];
		if (id) this.names.set(id, account.projectId);
	}

	private translate(text: string): string {
		return text.replaceAll(uuid, (id) => this.names.get(id) ?? id);
	}

	private requestBody(path: string, req: string): unknown {
		return path.includes("/user_data/") ? req : JSON.parse(this.translate(req));
	}

	private compare(interaction: Interaction, recorded: unknown, answer: Answer): string | undefined {
		if (answer.status !== interaction.status) {
			return `answered ${answer.status} ${JSON.stringify(answer.body)}`;
		}
		if (interaction.location !== null && answer.headers.get("location") === null) return "no Location header";
		if (tolerated.bigLists.test(interaction.path)) {
			return answer.headers.get("x-total-count") === null ? "no X-Total-Count header" : undefined;
		}
		if ((interaction.x_total_count ?? null) !== answer.headers.get("x-total-count")) {
			// Lists of the instance API say how many there are; where none was recorded we may still say it.
			if (interaction.x_total_count !== null) return `X-Total-Count ${answer.headers.get("x-total-count")}`;
		}
		return difference(recorded, answer.body, "body");
	}

	/** Pairs ids that stand in the same place of both answers. */
	private learn(recorded: unknown, ours: unknown): void {
		if (typeof recorded === "string" && typeof ours === "string") {
			if (recorded.match(uuid)?.[0] === recorded && !this.names.has(recorded)) this.names.set(recorded, ours);
		} else if (isObject(recorded) && isObject(ours)) {
			for (const [key, value] of Object.entries(recorded)) this.learn(value, ours[key]);
		} else if (Array.isArray(recorded) && Array.isArray(ours)) {
			recorded.forEach((value, index) => {
				this.learn(value, ours[index]);
			});
			// The image that was booted is the last of those offered; we have one for all.
			for (const value of recorded)
				if (isObject(value) && "compatible_commercial_types" in value) this.learn(value, ours[0]);
		}
	}
}

function isObject(value: unknown): value is Record<string, unknown> {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parse(interaction: Interaction): unknown {
	try {
		return JSON.parse(interaction.body);
	} catch {
		return interaction.body;
	}
}

/** Where two answers differ in keys, types or settled state; undefined if they do not. */
function difference(recorded: unknown, ours: unknown, at: string): string | undefined {
	if (Array.isArray(recorded) || Array.isArray(ours)) {
		if (!Array.isArray(recorded) || !Array.isArray(ours)) return `${at}: ${kind(ours)} instead of ${kind(recorded)}`;
		if (at.endsWith("local_images") || at.endsWith("compatible_commercial_types")) {
			return difference(recorded[0], ours[0], `${at}.0`);
		}
		// A real server allows nothing while its volume grows; here that takes no time.
		if (at.endsWith("allowed_actions") && recorded.length === 0) return undefined;
		if (recorded.length !== ours.length) return `${at}: ${ours.length} elements instead of ${recorded.length}`;
		for (const [index, value] of recorded.entries()) {
			const found = difference(value, ours[index], `${at}.${index}`);
			if (found) return found;
		}
		return undefined;
	}
	if (isObject(recorded) && isObject(ours)) {
		// Some changes take the real API a while and the local one no time: their middle is never seen here.
		if (isPassing(recorded) && !isPassing(ours)) return undefined;
		for (const key of new Set([...Object.keys(recorded), ...Object.keys(ours)])) {
			if (tolerated.untyped.has(key)) continue;
			if (tolerated.optionalKeys.has(key) && !(key in recorded && key in ours)) continue;
			if (!(key in ours)) return `${at}.${key} is missing`;
			if (!(key in recorded)) return `${at}.${key} is not in the recording`;
			const found = difference(recorded[key], ours[key], `${at}.${key}`);
			if (found) return found;
		}
		return undefined;
	}
	if (kind(recorded) !== kind(ours)) return `${at}: ${kind(ours)} instead of ${kind(recorded)}`;
	if (/\.(state|status|type|resource|reason|precondition)$/.test(at) && recorded !== ours) {
		return `${at}: ${ours} instead of ${recorded}`;
	}
	return undefined;
}

function isPassing(value: Record<string, unknown>): boolean {
	return /^(syncing|updating|resizing|attaching)$/.test(String(value.state ?? value.status));
}

function kind(value: unknown): string {
	return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

describe.skipIf(!existsSync(recordings))(`recorded conversations in ${recordings}`, () => {
	it.each(unserved)("%s is refused where it needs what is not served", async (cassette, request) => {
		const fixture = await startCloud();
		const replay = new Replay(fixture);
		try {
			const lines = readFileSync(`${recordings}${cassette}.jsonl`, "utf8").trim().split("\n");
			const play = async () => {
				for (const line of lines) await replay.run(JSON.parse(line) as Interaction);
			};
			await expect(play()).rejects.toThrow(
				new RegExp(`${request.source}.*answered 501.*does not serve ${request.source}`),
			);
		} finally {
			replay.goOn();
			await fixture.remove();
		}
	});

	it.each(cassettes)("%s", async (cassette) => {
		const fixture = await startCloud();
		const replay = new Replay(fixture);
		try {
			const lines = readFileSync(`${recordings}${cassette}.jsonl`, "utf8").trim().split("\n");
			for (const line of lines) await replay.run(JSON.parse(line) as Interaction);
			expect(lines.length).toBeGreaterThan(5);
		} finally {
			replay.goOn();
			await fixture.remove();
		}
	});
});
