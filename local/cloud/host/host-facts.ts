import { readFileSync } from "node:fs";
import path from "node:path";
import { attempt } from "../../../process/run.ts";
import { entries } from "./state.ts";

/** What is peculiar to this host and has to be in a guest for it to reach packages. Read at run time, never stored in the repository. */
export interface HostFacts {
	/** Debian's mirror: `http://deb.debian.org/debian`. */
	mirror: string;
	/** The mirror of its security updates. */
	securityMirror: string;
	/** Lines for apt.conf: proxies. */
	aptOptions: string[];
	/** Extra CA certificates, PEM by file name. */
	certificates: Record<string, string>;
	/** Content of /etc/pip.conf. */
	pipConfiguration: string;
}

export async function readHostFacts(): Promise<HostFacts> {
	const release = readFileSync("/etc/os-release", "utf8");
	const codename = /^VERSION_CODENAME=(\S+)$/m.exec(release)?.[1] ?? "";
	const sources = aptSources();
	const isDebian = /^ID=debian$/m.test(release);
	const find = (suite: string) =>
		isDebian
			? sources.find((source) => source.suites.includes(suite) && source.components.includes("main"))?.uri
			: undefined;
	const apt = (await attempt(["apt-config", "dump", "Acquire"])) ?? "";
	const certificates: Record<string, string> = {};
	const folder = "/usr/local/share/ca-certificates";
	for (const name of entries(folder).filter((name) => name.endsWith(".crt"))) {
		certificates[name] = readFileSync(path.join(folder, name), "utf8");
	}
	return {
		mirror: find(codename) ?? "http://deb.debian.org/debian",
		securityMirror: find(`${codename}-security`) ?? "http://security.debian.org/debian-security",
		aptOptions: apt.split("\n").filter((line) => /^Acquire::https?::(Proxy|Proxy::\S+) "[^"]+";$/.test(line)),
		certificates,
		pipConfiguration: pipConfiguration((await attempt(["pip", "config", "list"])) ?? "", process.env),
	};
}

interface AptSource {
	uri: string;
	suites: string[];
	components: string[];
}

/** Reads the host's apt sources, of both the one-line and the deb822 form. */
function aptSources(): AptSource[] {
	const files = [
		"/etc/apt/sources.list",
		...entries("/etc/apt/sources.list.d").map((name) => path.join("/etc/apt/sources.list.d", name)),
	];
	return files.flatMap((file) => {
		let text: string;
		try {
			text = readFileSync(file, "utf8");
		} catch {
			return [];
		}
		return file.endsWith(".sources") ? parseDeb822(text) : parseOneLine(text);
	});
}

export function parseOneLine(text: string): AptSource[] {
	return text.split("\n").flatMap((line) => {
		const match = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.replace(/#.*/, ""));
		if (!match) return [];
		return [
			{ uri: match[1] as string, suites: [match[2] as string], components: (match[3] as string).trim().split(/\s+/) },
		];
	});
}

export function parseDeb822(text: string): AptSource[] {
	return text.split(/\n\s*\n/).flatMap((stanza) => {
		const field = (name: string) =>
			(new RegExp(`^${name}:(.*(?:\\n[ \\t].*)*)`, "im").exec(stanza.replace(/^#.*\n?/gm, ""))?.[1] ?? "")
				.trim()
				.split(/\s+/)
				.filter(Boolean);
		if (!field("Types").includes("deb") || field("Enabled")[0] === "no") return [];
		return field("URIs").map((uri) => ({ uri, suites: field("Suites"), components: field("Components") }));
	});
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
