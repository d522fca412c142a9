import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { type Config, parseConfig, readConfig } from "../stacks/config.ts";

/** An armored key's frame: the configuration looks no deeper. */
export const signingKey = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nSIGNING\n-----END PGP PRIVATE KEY BLOCK-----\n";

/** A stack file's keys as Pulumi hands them to a program, with the two secrets that are not in it. */
export function stackKeys(stack: string): Record<string, string> {
	const file: unknown = parse(readFileSync(new URL(`../Pulumi.${stack}.yaml`, import.meta.url), "utf8"));
	const { config } = file as { config: Record<string, unknown> };
	const keys = Object.entries(config).map(([key, value]): [string, string] => [
		key,
		typeof value === "object" ? JSON.stringify(value) : String(value),
	]);
	return { ...Object.fromEntries(keys), "flathub:githubToken": "TOKEN", "flathub:signingKey": signingKey };
}

/** A stack file's own keys as values, to be changed by a test. */
export function stackValues(stack: string): Record<string, unknown> {
	return readConfig(stackKeys(stack));
}

/** A stack file's configuration. */
export function stackConfig(stack: string): Config {
	return parseConfig(stackValues(stack));
}
