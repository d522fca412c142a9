import { createHmac } from "node:crypto";
import { describe, expect, it } from "vitest";
import { deliveryHeaders, refUpdates } from "./webhook.ts";

describe("deliveryHeaders", () => {
	it("signs the example of GitHub's documentation as GitHub does", () => {
		const headers = deliveryHeaders(
			"push",
			"72d3162e-cc78-11e3-81ab-4c9367dc0958",
			"It's a Secret to Everybody",
			"Hello, World!",
		);
		expect(headers["x-hub-signature-256"]).toBe(
			"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
		);
		expect(headers["x-hub-signature"]).toBe(
			`sha1=${createHmac("sha1", "It's a Secret to Everybody").update("Hello, World!").digest("hex")}`,
		);
		expect(headers).toMatchObject({
			"content-type": "application/json",
			"user-agent": "GitHub-Hookshot/72d3162",
			"x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
			"x-github-event": "push",
		});
	});
});

describe("refUpdates", () => {
	const [a, b, zero] = ["a".repeat(40), "b".repeat(40), "0".repeat(40)];

	it("tells what was created, moved and deleted, and nothing else", () => {
		const before = new Map([
			["refs/heads/deleted", a],
			["refs/heads/master", a],
			["refs/heads/same", b],
		]);
		const after = new Map([
			["refs/heads/created", b],
			["refs/heads/master", b],
			["refs/heads/same", b],
		]);
		expect(refUpdates(before, after)).toEqual([
			{ ref: "refs/heads/created", before: zero, after: b },
			{ ref: "refs/heads/deleted", before: a, after: zero },
			{ ref: "refs/heads/master", before: a, after: b },
		]);
	});
});
