import { existsSync } from "node:fs";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { endProcesses } from "../../process/identity.ts";
import { type Finished, run } from "../../process/run.ts";
import { cachedDirectory, recipeKey } from "../cached-directory.ts";
import { readHostFacts } from "../debian/host-facts.ts";
import { makeDebianRoot, runInRoot, trustAuthorities } from "../debian/root.ts";
import { namespacePath } from "./network.ts";

const SUITE = "trixie";
const PACKAGES = ["ca-certificates", "curl", "dbus", "flatpak", "iproute2", "iputils-ping", "ostree", "procps"];
const USER_ID = 1000;

// flatpak asks the system bus for parental controls before it installs an app, and fails without a bus.
const SESSION = `#!/bin/bash
set -euo pipefail
mkdir -p /run/dbus
dbus-daemon --system --fork --nopidfile
user=$1
shift
exec setpriv --reuid="$user" --regid="$user" --init-groups --reset-env \\
	env XDG_RUNTIME_DIR=/run/user/${USER_ID} LANG=C.UTF-8 "$@"
`;

const INSTALL = ["flatpak", "install", "--user", "--noninteractive"];

const IMAGE_KEY = recipeKey({ suite: SUITE, packages: PACKAGES, user: USER_ID, session: SESSION });

export interface ClientOptions {
	/** The machine's root folder is below it. */
	stateDir: string;
	cacheDir: string;
	/** Network namespace that the machine lives in. */
	namespace: string;
	/** Flathub's. Default: `flathub.test`. */
	domain?: string;
	onProgress?: (line: string) => void;
}

/** Flatpak's names of the architectures that the machine can run, some of them emulated. */
export type AppArchitecture = "x86_64" | "i386" | "aarch64" | "arm";

export interface ClientRunOptions {
	/** Default: 300. */
	timeoutSeconds?: number;
	/** Default: `user`. */
	user?: "user" | "root";
}

/**
 * A Flatpak user's machine: Debian 13 with a real flatpak and no other way to Flathub than front. It has no system that is
 * booted: each command runs in a container of its own over the same disk, one at a time.
 */
export class FlatpakClient {
	readonly #options: ClientOptions;

	constructor(options: ClientOptions) {
		this.#options = options;
	}

	get #directory(): string {
		return join(this.#options.stateDir, "client");
	}

	get #root(): string {
		return join(this.#directory, `root-${IMAGE_KEY}`);
	}

	/** Make the machine's disk unless it is there, and its /etc/hosts: address → names. */
	async prepare(hosts: Record<string, readonly string[]>): Promise<void> {
		if (!existsSync(this.#root)) {
			const image = await this.#image();
			const partial = `${this.#root}.partial`;
			await rm(partial, { recursive: true, force: true });
			await mkdir(this.#directory, { recursive: true });
			await run(["cp", "--archive", "--reflink=auto", image, partial]);
			await rename(partial, this.#root);
		}
		const lines = [
			"127.0.0.1 localhost",
			...Object.entries(hosts).map(([address, names]) => `${address} ${names.join(" ")}`),
		];
		await writeFile(join(this.#root, "etc/hosts"), `${lines.join("\n")}\n`);
	}

	async #image(): Promise<string> {
		const directory = await cachedDirectory(join(this.#options.cacheDir, `client-${IMAGE_KEY}`), async (partial) => {
			const root = join(partial, "root");
			const facts = await readHostFacts();
			this.#options.onProgress?.(`Flatpak user's machine: ${PACKAGES.length} packages from ${facts.mirror}`);
			await makeDebianRoot(
				{
					directory: root,
					suite: SUITE,
					architecture: "amd64",
					packages: PACKAGES,
					variant: "minbase",
					updates: false,
				},
				facts,
			);
			await runInRoot(root, ["useradd", "--create-home", `--uid=${USER_ID}`, "--shell=/bin/bash", "user"]);
			await writeFile(join(root, "usr/local/sbin/session"), SESSION, { mode: 0o755 });
			await writeFile(join(root, "etc/hostname"), "client\n");
			// Names come from /etc/hosts alone.
			await rm(join(root, "etc/resolv.conf"), { force: true });
			await writeFile(join(root, "etc/resolv.conf"), "");
			await trustAuthorities(root, facts);
		});
		return join(directory, "root");
	}

	/** The command line, to be run as root on the host, that runs a command on the machine; for use at a terminal. */
	command(argv: readonly string[], user: "user" | "root" = "user"): string[] {
		const home = user === "root" ? "/root" : "/home/user";
		const nspawn = [
			...[
				"systemd-nspawn",
				"--quiet",
				"--register=no",
				"--keep-unit",
				"--as-pid2",
				"--resolv-conf=off",
				"--timezone=off",
			],
			...[`--directory=${this.#root}`, `--machine=${this.#options.namespace}`, `--chdir=${home}`],
			`--network-namespace-path=${namespacePath(this.#options.namespace)}`,
			...[`--tmpfs=/run/user/${USER_ID}:mode=0700,uid=${USER_ID},gid=${USER_ID}`],
			...["--console=pipe", "--", "/usr/local/sbin/session", user, ...argv],
		];
		// A mount namespace of its own: nspawn needs a unified cgroup tree, which hosts with a hybrid one lack, and it leaves
		// things in /run/systemd/nspawn where that is no tmpfs.
		const mounts = [
			"mkdir -p /run/systemd/nspawn && mount -t tmpfs none /run/systemd/nspawn",
			...(existsSync("/sys/fs/cgroup/cgroup.controllers")
				? []
				: ["umount -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"]),
		];
		return [
			// bubblewrap, which flatpak runs apps with, mounts a proc of its own.
			...["env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes", "flock", join(this.#directory, "lock")],
			...["unshare", "--mount", "--propagation=private", "bash", "-c", `${mounts.join(" && ")} && exec "$@"`, "-"],
			...nspawn,
		];
	}

	/** Run a command (no shell) as the machine's user; a non-zero exit code is returned, not thrown. */
	run(argv: readonly string[], options: ClientRunOptions = {}): Promise<Finished> {
		if (!existsSync(this.#root)) {
			throw new Error("the Flatpak user's machine does not exist: it is made by scripts/up local");
		}
		return run(this.command(argv, options.user), {
			mayFail: true,
			timeoutSeconds: options.timeoutSeconds ?? 300,
		});
	}

	/** Add the remotes `flathub` and, for the apps' runtimes, `runtimes`, as a user does who has opened their files. */
	async #addRemotes(): Promise<void> {
		const add = ["flatpak", "remote-add", "--user", "--if-not-exists"];
		await this.#succeed(...add, "flathub", this.#flatpakrepo);
		await this.#succeed(...add, "runtimes", "http://runtimes.test/runtimes.flatpakrepo");
	}

	get #repository(): string {
		return `http://dl.${this.#options.domain ?? "flathub.test"}/repo/`;
	}

	get #flatpakrepo(): string {
		return `${this.#repository}flathub.flatpakrepo`;
	}

	/**
	 * Install what Flathub has published of an app for one architecture, or update to it, every signature verified, and run it.
	 *
	 * @returns what the app printed, without white space around it
	 * @throws Error with what the failed command said
	 */
	async installAndRun(app: string, architecture: AppArchitecture): Promise<string> {
		await this.#addRemotes();
		if (architecture === "i386") await this.#installBundle(app);
		else await this.#succeed(...INSTALL, "--or-update", `--arch=${architecture}`, "flathub", app);
		return (await this.#succeed("flatpak", "run", "--user", `--arch=${architecture}`, app)).stdout.trim();
	}

	// An x86_64 flatpak does not offer an i386 ref that exists for x86_64 too: its part of the summary index holds only what
	// fits the machine best. So that one is pulled by ostree, and installed from a bundle.
	async #installBundle(app: string): Promise<void> {
		const directory = "/home/user/i386";
		const repository = `${directory}/repo`;
		const keyring = `${directory}/key.gpg`;
		const bundle = `${directory}/app.flatpak`;
		const ostree = (...args: string[]) => this.#succeed("ostree", `--repo=${repository}`, ...args);
		await this.#succeed("rm", "-rf", directory);
		await this.#succeed("mkdir", directory);
		await ostree("init", "--mode=archive");
		const { stdout: file } = await this.#succeed(...["curl", "--silent", "--show-error", "--fail", this.#flatpakrepo]);
		const key = /^GPGKey=(\S+)$/m.exec(file)?.[1];
		if (key === undefined) throw new Error(`${this.#flatpakrepo} has no line GPGKey=`);
		await this.#succeed("sh", "-c", `echo ${key} | base64 -d >${keyring}`);
		await ostree(
			...["remote", "add", `--gpg-import=${keyring}`, "--set=gpg-verify=true", "--set=gpg-verify-summary=true"],
			...["flathub", this.#repository],
		);
		await ostree("pull", "--mirror", "flathub", `app/${app}/i386/stable`);
		await this.#succeed("flatpak", "build-bundle", "--arch=i386", repository, bundle, app, "stable");
		await this.#succeed(...INSTALL, "--reinstall", "--bundle", bundle);
	}

	async #succeed(...argv: string[]): Promise<Finished> {
		const finished = await this.run(argv);
		if (finished.exitCode === 0) return finished;
		const { exitCode, stdout, stderr } = finished;
		throw new Error(`${argv.join(" ")} on the user's machine: exit code ${exitCode}\n${stdout}\n${stderr}`);
	}

	/** End what runs on the machine. */
	async stop(): Promise<void> {
		const { stdout } = await run(["pgrep", "--full", `^systemd-nspawn .*--directory=${this.#root} `], {
			mayFail: true,
		});
		await endProcesses(stdout.split("\n").filter(Boolean).map(Number));
	}
}
