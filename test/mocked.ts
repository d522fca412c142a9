import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import type { Config } from "../stacks/config.ts";
import { deployFlathub, type FlathubOutputs } from "../stacks/flathub.ts";

/** How Pulumi marks a secret on the wire. */
const secretKey = "4dabf18193072939515e22adb298388d";
const secretMark = "1b47061264138c4ac30d75fd1eb44270";

/** A resource as the program asked for it. */
export interface Asked {
	type: string;
	name: string;
	/** Secrets as {secret: value}, assets as {file: path}. */
	inputs: Record<string, unknown>;
	options: pulumi.CustomResourceOptions;
}

/** An id as Scaleway gives them, the same for the same name. */
export function idOf(type: string, name: string): string {
	const hex = createHash("sha256").update(`${type} ${name}`).digest("hex");
	const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
	if (!type.startsWith("scaleway:")) return uuid;
	return /^scaleway:(network|ipam)/.test(type) ? `fr-par/${uuid}` : `fr-par-1/${uuid}`;
}

function secret(value: string): unknown {
	return { [secretKey]: secretMark, value };
}

/** When every certificate ends. */
export const certificateEnd = "2028-05-14T12:00:00Z";

/** What stands for a certificate: nobody looks into it but for its hash. */
export function certificatePem(name: string): string {
	const base64 = Buffer.from(`CERTIFICATE ${name}`).toString("base64");
	return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}

/** What the providers would answer beside the inputs. */
function outputsOf(type: string, name: string): Record<string, unknown> {
	switch (type) {
		case "tls:index/privateKey:PrivateKey": {
			const algorithm = name.endsWith("bootstrap-host-key") ? "ecdsa-sha2-nistp256" : "ssh-ed25519";
			return {
				publicKeyOpenssh: `${algorithm} PUBLIC-HALF-OF-${name}\n`,
				privateKeyOpenssh: secret(`PRIVATE-HALF-OF-${name}\n`),
				privateKeyPem: secret(`PRIVATE-HALF-OF-${name}\n`),
				privateKeyPemPkcs8: secret(`PRIVATE-HALF-OF-${name}\n`),
			};
		}
		case "tls:index/certRequest:CertRequest":
			return { certRequestPem: `REQUEST-${name}` };
		case "tls:index/selfSignedCert:SelfSignedCert":
		case "tls:index/locallySignedCert:LocallySignedCert":
			return { certPem: certificatePem(name), validityEndTime: certificateEnd };
		case "random:index/randomPassword:RandomPassword":
			return { result: secret(`PASSWORD-${name}`) };
		case "scaleway:instance/ip:Ip":
			return { address: "198.51.100.7" };
		default:
			return {};
	}
}

/** Secrets and assets in a form that reads well. */
async function readable(value: unknown): Promise<unknown> {
	if (value instanceof pulumi.asset.FileAsset) return { file: String(await value.path) };
	if (Array.isArray(value)) return Promise.all(value.map(readable));
	if (typeof value !== "object" || value === null) return value;
	const entries = value as Record<string, unknown>;
	if (entries[secretKey] === secretMark) return { secret: await readable(entries.value) };
	const inner = Object.entries(entries).map(async ([key, each]) => [key, await readable(each)]);
	return Object.fromEntries(await Promise.all(inner));
}

/** A deployment under mocks: everything it asked for, by name, and what it exports. */
export async function deployMocked(
	config: Config,
	stack: string,
): Promise<{ asked: Map<string, Asked>; outputs: FlathubOutputs }> {
	const inputs = new Map<string, Record<string, unknown>>();
	const options = new Map<string, pulumi.CustomResourceOptions>();
	await pulumi.runtime.setMocks(
		{
			newResource: ({ type, name, inputs: given }) => {
				inputs.set(`${type} ${name}`, given);
				return { id: idOf(type, name), state: { ...given, ...outputsOf(type, name) } };
			},
			call: ({ inputs: given }) => given,
		},
		"flathub",
		stack,
		false,
	);
	const outputs = deployFlathub(config, {
		stack,
		services: "test/fixtures/services",
		opts: {
			transformations: [
				({ type, name, opts }) => {
					options.set(`${type} ${name}`, opts);
					return undefined;
				},
			],
		},
	});
	await pulumi.runtime.disconnect();
	const asked: [string, Asked][] = [];
	for (const [key, opts] of options) {
		const [type = "", name = ""] = key.split(" ");
		const given = (await readable(inputs.get(key) ?? {})) as Record<string, unknown>;
		asked.push([name, { type, name, inputs: given, options: opts }]);
	}
	if (new Set(asked.map(([name]) => name)).size !== asked.length) throw new Error("two resources have the same name");
	return { asked: new Map(asked), outputs };
}

/** The value of an output that is known. */
export function settled<T>(output: pulumi.Output<T>): Promise<T> {
	return new Promise((resolve) => {
		output.apply(resolve);
	});
}
