import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { poll } from "../../process/poll.ts";
import { run } from "../../process/run.ts";
import { Cgroup } from "../cloud/host/cgroup.ts";
import { enter } from "../cloud/host/enter.ts";
import { ensureImage, remoteHostImage } from "../cloud/host/image.ts";
import {
	clearMachine,
	consoleLog,
	isRunning,
	prepareMachine,
	serverIds,
	startMachine,
	stopMachine,
} from "../cloud/host/machine.ts";
import { cutPower } from "../cloud/host/power-cut.ts";
import { entries, type Place, readJson, writeJson } from "../cloud/host/state.ts";
import { unmountBelow } from "../mount.ts";
import { attach, detach } from "./network.ts";

export interface RemoteHostsOptions {
	/** The local Flathub's state; the hosts' is below it in `remote-hosts/` and gone after `stop`. */
	stateDir: string;
	/** The local Flathub's cache, with the images. */
	cacheDir: string;
	/** The local cloud's network namespace, and the prefix of the hosts' own. Default: `flathub-local`. */
	prefix?: string;
	/** The bridge in it that stands for the internet. Default: `public`. */
	bridge?: string;
	/** Its address, which is also the hosts' resolver. Default: 198.18.0.1. */
	gateway?: string;
	progress?: (line: string) => void;
}

const powerOffSeconds = 30;

/**
 * Machines in somebody else's data centre, which that one installed and lends to Flathub: a Debian server each, with a
 * public address, an SSH host key of its own, and whoever is let in as root. No cloud has an API for them.
 */
export class RemoteHosts {
	readonly #options: RemoteHostsOptions;
	readonly #prefix: string;
	readonly #directory: string;
	readonly #place: Place;

	constructor(options: RemoteHostsOptions) {
		this.#options = options;
		this.#prefix = options.prefix ?? "flathub-local";
		this.#directory = join(options.stateDir, "remote-hosts");
		this.#place = {
			prefix: `${this.#prefix}-out`,
			directory: this.#directory,
			imageDirectory: join(options.cacheDir, "image"),
		};
	}

	#namespace(name: string): string {
		return `${this.#prefix}-out-${name}`;
	}

	#file(name: string, suffix: string): string {
		return join(this.#directory, "hosts", `${name}${suffix}`);
	}

	/** The names of those there are. */
	names(): string[] {
		return serverIds(this.#place);
	}

	/** Starts a host at each IPv4 address unless it runs; returns once their SSH services answer. Others stay as they are. */
	async start(addresses: Readonly<Record<string, string>>): Promise<void> {
		for (const [name, address] of Object.entries(addresses)) {
			if (!/^[a-z][a-z0-9-]*$/.test(name)) {
				throw new Error(`remote host ${JSON.stringify(name)}: expected lower-case letters, digits and hyphens`);
			}
			writeJson(this.#file(name, ".json"), { address });
			await this.#makeHostKey(name);
			// Its disk stays over the image that it was made from.
			if (!this.names().includes(name)) {
				prepareMachine(this.#place, { id: name, name, image: await this.#image() });
			}
		}
		await Promise.all(Object.keys(addresses).map((name) => this.powerOn(name)));
	}

	#image(): Promise<string> {
		return ensureImage(this.#place.imageDirectory, remoteHostImage, this.#options.progress ?? (() => {}));
	}

	/** Once for the life of a host, in a file beside its disk. */
	async #makeHostKey(name: string): Promise<void> {
		const file = this.#file(name, ".key");
		if (existsSync(`${file}.pub`)) return;
		await rm(file, { force: true }); // ssh-keygen writes the public half last
		await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file]);
	}

	/** The public half of a host's SSH host key: type and key. */
	hostKey(name: string): string {
		this.#mustBeThere(name);
		return readFileSync(this.#file(name, ".key.pub"), "utf8").trim().split(" ").slice(0, 2).join(" ");
	}

	isRunning(name: string): boolean {
		return isRunning(this.#place, name);
	}

	/** Starts a host that is off, with the disk it had; returns once its SSH service answers. */
	async powerOn(name: string): Promise<void> {
		this.#mustBeThere(name);
		const { address } = readJson<{ address: string }>(this.#file(name, ".json")) as { address: string };
		await attach({
			namespace: this.#namespace(name),
			cloudNamespace: this.#prefix,
			bridge: this.#options.bridge ?? "public",
			port: `world-${address.split(".").at(-1)}`,
			address: `${address}/24`,
			gateway: this.#gateway,
		});
		if (!this.isRunning(name)) {
			this.#options.progress?.(`${name}: power on`);
			await startMachine(this.#place, {
				id: name,
				name,
				volumeIds: [],
				networkNamespace: this.#namespace(name),
				initArguments: [],
				furnish: (root) => this.#furnish(name, root),
			});
		}
		await poll(
			`the SSH service of ${name} (its console: ${consoleLog(this.#place, name)})`,
			60,
			async () => ((await answers(address, 22)) ? true : undefined),
			0.1,
		);
	}

	get #gateway(): string {
		return this.#options.gateway ?? "198.18.0.1";
	}

	/** What whoever installed the host configured by hand. */
	#furnish(name: string, root: string): void {
		const key = this.#file(name, ".key");
		const write = (file: string, content: string, mode = 0o644) =>
			writeFileSync(join(root, "etc", file), content, { mode });
		write("ssh/ssh_host_ed25519_key", readFileSync(key, "utf8"), 0o600);
		write("ssh/ssh_host_ed25519_key.pub", readFileSync(`${key}.pub`, "utf8"));
		write("resolv.conf", `nameserver ${this.#gateway}\n`);
		if (!existsSync(join(root, "etc/hosts"))) write("hosts", `127.0.0.1 localhost\n127.0.1.1 ${name}\n`);
	}

	/** Shuts a host down, by force after 30 s. Its disk stays. */
	async powerOff(name: string): Promise<void> {
		await stopMachine(this.#place, name, powerOffSeconds);
	}

	/** Ends a host in the middle of whatever it does. Its disk stays. */
	async cutPower(name: string): Promise<void> {
		this.#mustBeThere(name);
		await cutPower(this.#place, name);
		await clearMachine(this.#place, name);
	}

	/** Lets the holder of an SSH key in as root; who is let in already stays so. `publicKey` is a line of authorized_keys. */
	async letIn(name: string, publicKey: string): Promise<void> {
		const line = publicKey.trim();
		if (!/^ssh-ed25519 \S+( [^\n]*)?$/.test(line)) {
			throw new Error(`remote host ${name}: ${JSON.stringify(line)} is no ED25519 public key of one line`);
		}
		const script = `set -eu
umask 077
mkdir -p /root/.ssh
touch /root/.ssh/authorized_keys
read -r line
grep -qxF -e "$line" /root/.ssh/authorized_keys || printf '%s\\n' "$line" >>/root/.ssh/authorized_keys`;
		await this.enter(name, ["sh", "-c", script], { input: `${line}\n` });
	}

	/** Runs a command as root in a running host, not by way of SSH, and gives its stdout, without the last line's end. */
	enter(
		name: string,
		argv: readonly string[],
		options: { input?: string; timeoutSeconds?: number } = {},
	): Promise<string> {
		return enter(this.#place, name, argv, options);
	}

	#mustBeThere(name: string): void {
		if (this.names().includes(name)) return;
		throw new Error(`remote host ${JSON.stringify(name)} is not there; expected one of ${this.names().join(", ")}`);
	}

	/** Shuts all of them down and removes them, also what a crashed run left. */
	async stop(): Promise<void> {
		const group = new Cgroup(this.#place.prefix);
		const running = group
			.children()
			.flatMap((child) => (child.startsWith("server-") ? [child.slice("server-".length)] : []));
		const names = [...new Set([...running, ...this.names()])];
		await Promise.all(names.map((name) => stopMachine(this.#place, name, powerOffSeconds)));
		await group.destroy();
		await unmountBelow(this.#directory);
		const namespaces = entries("/run/netns").filter((namespace) => namespace.startsWith(this.#namespace("")));
		for (const namespace of namespaces) await detach(namespace);
		await rm(this.#directory, { recursive: true, force: true });
	}
}

/** Whether a TCP service accepts a connection and says something within two seconds. */
function answers(host: string, port: number): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect({ host, port, timeout: 2000 });
		const end = (value: boolean) => {
			socket.destroy();
			resolve(value);
		};
		socket.once("data", () => end(true));
		socket.once("timeout", () => end(false));
		socket.once("error", () => end(false));
	});
}
