import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../process/run.ts";
import type { HostFacts } from "./host-facts.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface DebianRoot {
	/** Made, or empty. */
	directory: string;
	suite: string;
	/** Debian's name of the architecture: amd64, i386. Default: the host's. */
	architecture?: string;
	packages: readonly string[];
	/** `extract` unpacks only, so it works for any architecture; `minbase` makes a system. */
	variant: "extract" | "minbase";
	/** Whether the suite's updates and security updates are taken too. */
	updates: boolean;
}

/** Makes a root folder from Debian packages of the host's mirror, without recommended packages. */
export async function makeDebianRoot(root: DebianRoot, facts: HostFacts): Promise<void> {
	const { suite, directory } = root;
	const updates = [`deb ${facts.mirror} ${suite}-updates main`, `deb ${facts.securityMirror} ${suite}-security main`];
	await run(
		[
			...["mmdebstrap", `--variant=${root.variant}`, "--format=directory", "--mode=root"],
			...(root.architecture === undefined ? [] : [`--architectures=${root.architecture}`]),
			`--include=${root.packages.join(",")}`,
			'--aptopt=APT::Install-Recommends "false"',
			// mmdebstrap's apt does not read the host's configuration.
			...facts.aptOptions.map((option) => `--aptopt=${option}`),
			...(root.variant === "extract" ? ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"] : []),
			...(existsSync(keyring) ? [`--keyring=${keyring}`] : []),
			...[suite, directory, `deb ${facts.mirror} ${suite} main`, ...(root.updates ? updates : [])],
		],
		{ timeoutSeconds: 1200, env: { ...process.env, LC_ALL: "C" } },
	);
}

/** Runs a program in a root folder. */
export async function runInRoot(directory: string, argv: readonly string[]): Promise<void> {
	const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" };
	await run(["chroot", directory, ...argv], { env });
}

/** Makes a root folder that has ca-certificates trust the host's own authorities: a proxy of the host's may have one. */
export async function trustAuthorities(directory: string, { certificates }: HostFacts): Promise<void> {
	const folder = join(directory, "usr/local/share/ca-certificates");
	mkdirSync(folder, { recursive: true });
	for (const [name, certificate] of Object.entries(certificates)) {
		writeFileSync(join(folder, name), certificate, { mode: 0o644 });
	}
	await runInRoot(directory, ["update-ca-certificates"]);
}
