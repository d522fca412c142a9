import { existsSync } from "node:fs";
import { run } from "../../process/run.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** The Debian mirror that this host's apt uses, e.g. `http://deb.debian.org/debian/`; always ends with a slash. */
export async function debianMirror(): Promise<string> {
	const format = "$(ORIGIN)|$(LABEL)|$(CREATED_BY)|$(REPO_URI)";
	const { stdout } = await run(["apt-get", "indextargets", "--format", format]);
	return mirrorOf(stdout) ?? "http://deb.debian.org/debian/";
}

/** The first plain Debian archive (not security, not a third party's) in apt's list of index targets. */
export function mirrorOf(indexTargets: string): string | undefined {
	for (const line of indexTargets.split("\n")) {
		const [origin, label, createdBy, uri] = line.split("|");
		if (origin === "Debian" && label === "Debian" && createdBy === "Packages" && uri) return uri.replace(/\/*$/, "/");
	}
	return undefined;
}

export interface DebianRoot {
	directory: string;
	suite: string;
	/** Debian's name of the architecture: amd64, i386. */
	architecture: string;
	packages: readonly string[];
	/** `extract` unpacks only, so it works for any architecture; `minbase` makes a system. */
	variant: "extract" | "minbase";
	onProgress: (line: string) => void;
}

/** Make a root folder from Debian packages of the host's mirror, without recommended packages. */
export async function makeDebianRoot(root: DebianRoot): Promise<void> {
	const mirror = await debianMirror();
	root.onProgress(`${root.suite} ${root.architecture}: unpacking ${root.packages.length} packages from ${mirror}`);
	await run(
		[
			"mmdebstrap",
			`--variant=${root.variant}`,
			`--architectures=${root.architecture}`,
			`--include=${root.packages.join(",")}`,
			'--aptopt=APT::Install-Recommends "false"',
			...(await proxyOptions()),
			...(root.variant === "extract" ? ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"] : []),
			...(existsSync(KEYRING) ? [`--keyring=${KEYRING}`] : []),
			"--format=directory",
			root.suite,
			root.directory,
			mirror,
		],
		{ timeoutSeconds: 900 },
	);
}

/** mmdebstrap's apt does not read the host's configuration; a proxy set there must be handed on. */
async function proxyOptions(): Promise<string[]> {
	const { stdout } = await run(["apt-config", "dump", "--format", "%f %v%n", "Acquire"]);
	return stdout
		.split("\n")
		.map((line) => /^(Acquire::https?::Proxy) (\S+)$/.exec(line))
		.filter((match) => match !== null)
		.map((match) => `--aptopt=${match[1]} "${match[2]}"`);
}
