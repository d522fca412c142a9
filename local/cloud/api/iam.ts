import { createHash } from "node:crypto";
import { z } from "zod";
import { account } from "../../settings.ts";
import type { Cloud } from "../cloud.ts";
import type { SshKey } from "../state.ts";
import { pageAnswer, sendNothing } from "./answers.ts";
import { find, invalidArgument } from "./errors.ts";
import { listQuery, ordered } from "./paging.ts";
import { type Api, generatedName, name, newObject, project } from "./route.ts";
import { date } from "./timestamps.ts";

const byId = z.strictObject({ id: z.string() });

/** SSH keys of the project: every server that boots gets those that are not disabled. */
export function registerIam(api: Api, cloud: Cloud): void {
	const keys = cloud.state.sshKeys;

	api.post(
		"/iam/v1alpha1/ssh-keys",
		{
			schema: {
				body: z.strictObject({ name: name.optional(), public_key: z.string(), project_id: project.optional() }),
			},
		},
		async ({ body }) => {
			const { publicKey, fingerprint } = parsePublicKey(body.public_key);
			const key: SshKey = {
				...newObject(cloud.now()),
				name: body.name ?? generatedName("ssh-key"),
				publicKey,
				fingerprint,
				disabled: false,
			};
			keys[key.id] = key;
			cloud.save();
			return present(key);
		},
	);

	api.get(
		"/iam/v1alpha1/ssh-keys",
		{
			schema: {
				querystring: z.strictObject({
					...listQuery,
					name: z.string().optional(),
					disabled: z.stringbool().optional(),
				}),
			},
		},
		async ({ query }) => {
			const found = ordered(Object.values(keys), query.order_by).filter(
				(key) =>
					(query.name === undefined || key.name === query.name) &&
					(query.disabled === undefined || key.disabled === query.disabled),
			);
			return pageAnswer("ssh_keys", found, query, present);
		},
	);

	api.get("/iam/v1alpha1/ssh-keys/:id", { schema: { params: byId } }, async ({ params }) =>
		present(find(keys, params.id, "ssh_key")),
	);

	api.patch(
		"/iam/v1alpha1/ssh-keys/:id",
		{ schema: { params: byId, body: z.strictObject({ name: name.optional(), disabled: z.boolean().optional() }) } },
		async ({ params, body }) => {
			const key = find(keys, params.id, "ssh_key");
			key.name = body.name ?? key.name;
			key.disabled = body.disabled ?? key.disabled;
			key.updatedAt = cloud.now();
			cloud.save();
			return present(key);
		},
	);

	api.delete("/iam/v1alpha1/ssh-keys/:id", { schema: { params: byId } }, async ({ params }, reply) => {
		delete keys[find(keys, params.id, "ssh_key").id];
		cloud.save();
		return sendNothing(reply);
	});
}

function present(key: SshKey): Record<string, unknown> {
	return {
		id: key.id,
		name: key.name,
		public_key: key.publicKey,
		fingerprint: key.fingerprint,
		created_at: date(key.createdAt),
		updated_at: date(key.updatedAt),
		organization_id: account.projectId,
		project_id: account.projectId,
		disabled: key.disabled,
	};
}

const bitsByType: Record<string, number> = {
	"ssh-ed25519": 256,
	"ecdsa-sha2-nistp256": 256,
	"ecdsa-sha2-nistp384": 384,
	"ecdsa-sha2-nistp521": 521,
};

/** Scaleway drops the comment and fingerprints with MD5. */
function parsePublicKey(text: string): { publicKey: string; fingerprint: string } {
	const [type = "", encoded = ""] = text.trim().split(/\s+/);
	const blob = Buffer.from(encoded, "base64");
	const typeLength = blob.length >= 4 ? blob.readUInt32BE(0) : 0;
	if (type === "" || blob.subarray(4, 4 + typeLength).toString("latin1") !== type) {
		throw invalidArgument("public_key", "expected an OpenSSH public key: TYPE BASE64 [COMMENT]");
	}
	const digest = createHash("md5").update(blob).digest("hex").replace(/..\B/g, "$&:");
	const bits = bitsByType[type] ?? rsaBits(blob);
	return { publicKey: `${type} ${encoded}`, fingerprint: `${bits} MD5:${digest} (${type})` };
}

/** Length of the modulus, the last of the three strings in an RSA key's blob. */
function rsaBits(blob: Buffer): number {
	let offset = 0;
	let field: Buffer = Buffer.alloc(0);
	while (offset + 4 <= blob.length) {
		const length = blob.readUInt32BE(offset);
		field = blob.subarray(offset + 4, offset + 4 + length);
		offset += 4 + length;
	}
	return BigInt(`0x${field.toString("hex") || "0"}`).toString(2).length;
}
