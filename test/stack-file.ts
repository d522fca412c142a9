import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { type Config, parseConfig, readConfig } from "../stacks/config.ts";

/** An armored key's frame: the configuration looks no deeper. */
export const signingKey = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nSIGNING\n-----END PGP PRIVATE KEY BLOCK-----\n";

/** Host keys as the stand-ins of remote builders make them. */
const hostKeys: Record<string, string> = {
	"codethink-1": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1zEB2OCprPZIrgdJVuGL8dfuv6PVlYw4VG2LyvMwIO",
	"codethink-2": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKSlLYoRe7Et79OX4CCYYIWBJcYSDUwvGHOxCfIN7h3F",
};

/** A stack file's keys as Pulumi hands them to a program, with the secrets and host keys that are not in it. */
export function stackKeys(stack: string): Record<string, string> {
	const file: unknown = parse(readFileSync(new URL(`../Pulumi.${stack}.yaml`, import.meta.url), "utf8"));
	const { config } = file as { config: Record<string, unknown> };
	const remotes = (config["flathub:remoteBuilders"] ?? {}) as Record<string, object>;
	config["flathub:remoteBuilders"] = Object.fromEntries(
		Object.entries(remotes).map(([name, remote]) => [name, { hostKey: hostKeys[name], ...remote }]),
	);
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
