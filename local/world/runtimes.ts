import { existsSync } from "node:fs";
import { cp, lstat, mkdir, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../process/run.ts";
import { cachedDirectory, recipeKey } from "../cached-directory.ts";
import { readHostFacts } from "../debian/host-facts.ts";
import { makeDebianRoot } from "../debian/root.ts";

/** The runtimes' branch. */
const RUNTIME_BRANCH = "1";

/** Flatpak's names of the architectures that have a runtime, and Debian's. */
const RUNTIME_ARCHITECTURES = { x86_64: "amd64", i386: "i386", aarch64: "arm64", arm: "armhf" } as const;

type Architecture = keyof typeof RUNTIME_ARCHITECTURES;

interface Recipe {
	id: string;
	packages: readonly string[];
}

// Debian 12: the last release that is made whole for i386. All architectures come from the same one.
const SUITE = "bookworm";

const BASE = ["base-files", "bash", "coreutils", "dash", "grep", "libc-bin", "libc6", "sed"];

const PLATFORM: Recipe = { id: "org.flathub.test.Platform", packages: BASE };

const SDK: Recipe = {
	id: "org.flathub.test.Sdk",
	packages: [
		...BASE,
		...["binutils", "gcc", "libc6-dev", "make", "patch", "pkgconf"],
		...["bzip2", "diffutils", "findutils", "gawk", "gzip", "tar", "xz-utils"],
	],
};

/** Below usr/: what neither a build nor an app needs. `*` stands for a part of one name. */
const REMOVED = [
	...[
		"share/doc",
		"share/man",
		"share/info",
		"share/locale",
		"share/lintian",
		"share/bug",
		"share/gdb",
		"share/bash-completion",
	],
	...[
		"share/doc-base",
		"share/gcc",
		"share/menu",
		"games",
		"local",
		"src",
		"lib32",
		"libx32",
		"lib/systemd",
		"lib/mime",
	],
	// Link-time optimisation, sanitizers and profilers: two thirds of a C compiler's size.
	...[
		"lib/gcc/*/*/lto1",
		"lib/gcc/*/*/lib*san*",
		"lib/*/lib*san.so*",
		"bin/*lto-dump*",
		"bin/*dwp",
		"bin/*gold",
		"bin/*gprof*",
	],
	...["lib/*/libgprofng*", "lib/*/gprofng", "lib/*/gconv", "lib/gcc/*/*/plugin"],
	// Static libraries; libc_nonshared.a and libgcc.a are part of every link.
	...[
		"lib/*/libc.a",
		"lib/*/libm.a",
		"lib/*/libm-*.a",
		"lib/*/libmvec.a",
		"lib/*/libmcheck.a",
		"lib/*/libcrypt.a",
		"lib/*/libtirpc.a",
	],
	...[
		"lib/*/libnsl.a",
		"lib/*/libg.a",
		"lib/*/libctf*.a",
		"lib/*/libbfd.a",
		"lib/*/libopcodes.a",
		"lib/*/libBrokenLocale.a",
	],
];

/** What Debian makes with update-alternatives when packages are configured; here they are only unpacked. */
const LINKS: Record<string, string> = { awk: "gawk", cc: "gcc", c99: "gcc", pager: "cat" };

const TITLE = "Flathub's test runtimes";

const recipe = {
	format: 2,
	suite: SUITE,
	branch: RUNTIME_BRANCH,
	architectures: RUNTIME_ARCHITECTURES,
	runtimes: [PLATFORM, SDK],
	removed: REMOVED,
	links: LINKS,
};

export interface RuntimesOptions {
	/** What is made here lives as long as the recipe does not change: `<cacheDir>/runtimes-<key>`. */
	cacheDir: string;
	onProgress?: (line: string) => void;
}

/**
 * A folder to be served at `http://runtimes.test/`: `repo/`, a signed OSTree repository with the test runtime and SDK for
 * every architecture, and `runtimes.flatpakrepo`. Needs root, mmdebstrap, flatpak, ostree and gpg; nothing of another
 * architecture is run. The signing key is thrown away once the repository is complete.
 */
export function buildRuntimes({ cacheDir, onProgress = () => {} }: RuntimesOptions): Promise<string> {
	return cachedDirectory(join(cacheDir, `runtimes-${recipeKey(recipe)}`), async (directory) => {
		const work = join(directory, "work");
		// Not below the cache folder: gpg-agent's socket has a path of at most 107 characters.
		const keyring = await mkdtemp(join(tmpdir(), "flathub-runtimes-"));
		try {
			await build(directory, work, keyring, onProgress);
		} finally {
			await run(["gpgconf", "--homedir", keyring, "--kill", "all"], { mayFail: true });
			await rm(keyring, { recursive: true, force: true });
			await rm(work, { recursive: true, force: true });
		}
	});
}

async function build(directory: string, work: string, keyring: string, onProgress: (line: string) => void) {
	const repository = join(directory, "repo");
	const facts = await readHostFacts();
	await mkdir(work);
	const gpg = ["gpg", "--homedir", keyring, "--batch", "--quiet"];
	await run([...gpg, "--passphrase", "", "--quick-generate-key", TITLE, "ed25519", "sign", "never"]);
	const { stdout: keys } = await run([...gpg, "--list-keys", "--with-colons"]);
	const fingerprint = keys
		.split("\n")
		.find((line) => line.startsWith("fpr:"))
		?.split(":")[9];
	if (fingerprint === undefined) throw new Error("gpg made no key to sign the runtimes with");
	const signing = [`--gpg-sign=${fingerprint}`, `--gpg-homedir=${keyring}`];

	await run(["ostree", `--repo=${repository}`, "init", "--mode=archive"]);
	for (const architecture of Object.keys(RUNTIME_ARCHITECTURES) as Architecture[]) {
		for (const runtime of [PLATFORM, SDK]) {
			const root = join(work, `${runtime.id}-${architecture}`);
			onProgress(`${runtime.id}/${architecture}: ${runtime.packages.length} packages from ${facts.mirror}`);
			await makeDebianRoot(
				{
					directory: root,
					suite: SUITE,
					architecture: RUNTIME_ARCHITECTURES[architecture],
					packages: runtime.packages,
					variant: "extract",
					updates: false,
				},
				facts,
			);
			const image = join(work, `${runtime.id}-${architecture}-image`);
			await makeImage(root, image, runtime.id, architecture);
			onProgress(`${runtime.id}/${architecture}: export`);
			await run([
				...["flatpak", "build-export", "--runtime", `--arch=${architecture}`, "--files=files", "--disable-sandbox"],
				...["--no-update-summary", `--subject=${runtime.id} from Debian ${SUITE}`, ...signing],
				...[repository, image, RUNTIME_BRANCH],
			]);
			await rm(root, { recursive: true });
			await rm(image, { recursive: true });
		}
	}
	onProgress("runtimes: summary");
	// No summary index: with one, a client on x86_64 sees no i386 runtime that exists for x86_64 as well
	// (flatpak_remote_state_ensure_subsummary).
	await run(["flatpak", "build-update-repo", "--no-summary-index", `--title=${TITLE}`, ...signing, repository]);
	const { stdout: armored } = await run([...gpg, "--armor", "--export", fingerprint]);
	await writeFile(join(directory, "runtimes.gpg"), `${armored}\n`);
	const { stdout: base64 } = await run(["bash", "-c", 'set -o pipefail; "$@" | base64 -w0', "-", ...gpg, "--export"]);
	await writeFile(
		join(directory, "runtimes.flatpakrepo"),
		["[Flatpak Repo]", `Title=${TITLE}`, "Url=http://runtimes.test/repo/", `GPGKey=${base64}`, ""].join("\n"),
	);
}

/** What `flatpak build-export --runtime` takes: a metadata file, and in files/ what is /usr in the sandbox. */
async function makeImage(root: string, image: string, id: string, architecture: Architecture) {
	const usr = join(root, "usr");
	for (const pattern of REMOVED) await removeMatching(usr, pattern.split("/"));
	await mergeSbin(usr);
	await removeAlternatives(join(usr, "bin"));
	for (const [name, target] of Object.entries(LINKS)) {
		const link = join(usr, "bin", name);
		if (existsSync(join(usr, "bin", target)) && !existsSync(link)) await symlink(target, link);
	}
	await mkdir(image);
	const files = join(image, "files");
	await rename(usr, files);
	await rm(join(files, "etc"), { recursive: true, force: true });
	await mkdir(join(files, "etc"));
	// Empty: flatpak then makes the one that names the app's libraries.
	await writeFile(join(files, "etc/ld.so.conf"), "");
	for (const name of ["debian_version", "profile"]) {
		const source = join(root, "etc", name);
		if (existsSync(source)) await cp(source, join(files, "etc", name));
	}
	await writeFile(
		join(image, "metadata"),
		[
			"[Runtime]",
			`name=${id}`,
			`runtime=${PLATFORM.id}/${architecture}/${RUNTIME_BRANCH}`,
			`sdk=${SDK.id}/${architecture}/${RUNTIME_BRANCH}`,
			"",
		].join("\n"),
	);
}

/** usr/sbin becomes a link to usr/bin: a sandbox's PATH has only the latter, and flatpak runs ldconfig there. */
async function mergeSbin(usr: string) {
	const sbin = join(usr, "sbin");
	for (const name of await readdir(sbin)) {
		const target = join(usr, "bin", name);
		if (!existsSync(target)) await rename(join(sbin, name), target);
	}
	await rm(sbin, { recursive: true });
	await symlink("bin", sbin);
}

/** Links into /etc/alternatives lead nowhere in a sandbox. */
async function removeAlternatives(directory: string) {
	for (const name of await readdir(directory)) {
		const path = join(directory, name);
		if ((await lstat(path)).isSymbolicLink() && (await readlink(path)).startsWith("/etc/alternatives/")) await rm(path);
	}
}

/** Remove what matches the parts of a path below `directory`; a `*` in a part stands for any characters of it. */
async function removeMatching(directory: string, parts: readonly string[]): Promise<void> {
	const [part, ...rest] = parts;
	if (part === undefined) return rm(directory, { recursive: true, force: true });
	const pattern = new RegExp(`^${part.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
	for (const entry of await readdir(directory, { withFileTypes: true })) {
		if (!pattern.test(entry.name)) continue;
		const path = join(directory, entry.name);
		if (rest.length === 0) await rm(path, { recursive: true, force: true });
		else if (entry.isDirectory()) await removeMatching(path, rest);
	}
}
