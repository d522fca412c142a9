import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { attempt } from "../../process/run.ts";

/** What is peculiar to this host and is needed to reach packages from it and from what runs on it. Read at run time, never stored in the repository. */
export interface HostFacts {
	/** Debian's mirror, without a slash at its end: `http://mirror.example/debian`. */
	mirror: string;
	/** The mirror of its security updates, the same way. */
	securityMirror: string;
	/** Lines for apt.conf: proxies. */
	aptOptions: string[];
	/** Extra CA certificates, PEM by file name. */
	certificates: Record<string, string>;
	/** Content of /etc/pip.conf. */
	pipConfiguration: string;
}

/** @throws Error if this host is no Debian, or its apt has no mirror */
export async function readHostFacts(): Promise<HostFacts> {
	const release = readFileSync("/etc/os-release", "utf8");
	const codename = /^VERSION_CODENAME=(\S+)$/m.exec(release)?.[1] ?? "";
	// The archive of another distribution may have the same suites' names.
	const isDebian = /^ID=debian$/m.test(release);
	const targets = isDebian ? await attempt(["apt-get", "indextargets", "--format", targetFormat]) : undefined;
	const find = (suite: string) => {
		const mirror = mirrorOf(targets ?? "", suite);
		if (mirror !== undefined) return mirror;
		throw new Error(
			`apt's sources on this machine name no mirror for Debian's "${suite}" main; expected one in /etc/apt/sources.list or /etc/apt/sources.list.d/, and \`apt-get update\` to have been run.`,
		);
	};
	const apt = (await attempt(["apt-config", "dump", "Acquire"])) ?? "";
	const certificates: Record<string, string> = {};
	const folder = "/usr/local/share/ca-certificates";
	const names = existsSync(folder) ? readdirSync(folder).sort() : [];
	for (const name of names.filter((name) => name.endsWith(".crt"))) {
		certificates[name] = readFileSync(path.join(folder, name), "utf8");
	}
	return {
		mirror: find(codename),
		securityMirror: find(`${codename}-security`),
		aptOptions: apt.split("\n").filter((line) => /^Acquire::https?::(Proxy|Proxy::\S+) "[^"]+";$/.test(line)),
		certificates,
		pipConfiguration: pipConfiguration((await attempt(["pip", "config", "list"])) ?? "", process.env),
	};
}

/** What `mirrorOf` reads. */
const targetFormat = "$(RELEASE)|$(COMPONENT)|$(CREATED_BY)|$(REPO_URI)";

/** The archive of a Debian suite in apt's list of index targets, without a slash at its end. */
export function mirrorOf(indexTargets: string, suite: string): string | undefined {
	for (const line of indexTargets.split("\n")) {
		const [release, component, createdBy, uri] = line.split("|");
		if (release === suite && component === "main" && createdBy === "Packages") return uri?.replace(/\/*$/, "");
	}
	return undefined;
}

/**
 * The pip configuration for a guest from what `pip config list` prints and the environment, which wins over it as it
 * does in pip. Local folders (find-links) stay out: a guest does not have them.
 */
export function pipConfiguration(listed: string, environment: NodeJS.ProcessEnv): string {
	const known = new Set([
		"index-url",
		"extra-index-url",
		"trusted-host",
		"proxy",
		"timeout",
		"default-timeout",
		"retries",
	]);
	const values = new Map<string, string>();
	for (const line of listed.split("\n")) {
		const match = /^(?:global|install|:env:)\.([a-z-]+)='(.*)'$/.exec(line.trim());
		if (match && known.has(match[1] as string)) values.set(match[1] as string, match[2] as string);
	}
	for (const [name, value] of Object.entries(environment)) {
		const key = /^PIP_([A-Z_]+)$/.exec(name)?.[1]?.toLowerCase().replaceAll("_", "-");
		if (key && value && known.has(key)) values.set(key, value);
	}
	const timeout = values.get("timeout") ?? values.get("default-timeout");
	values.delete("default-timeout");
	if (timeout) values.set("timeout", timeout);
	// pip brings CA certificates of its own, without the host's extra ones; the guest's bundle has both.
	values.set("cert", "/etc/ssl/certs/ca-certificates.crt");
	const lines = [...values]
		.sort(([a], [b]) => a.localeCompare(b))
		.map(([key, value]) => `${key} = ${value.replaceAll("\\n", "\n  ")}`);
	return `[global]\n${lines.join("\n")}\n`;
}
