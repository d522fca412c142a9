import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Finished, type RunOptions, run } from "../process/run.ts";
import type { StackOutputs } from "./stack.ts";

/**
 * SSH to the machines of a stack, every host key checked against the stack's outputs: through front to those in the private
 * network, directly to front and the remote builders.
 */
export interface Access {
	/** Runs a command on a machine as root. */
	ssh(machine: string, command: string[], options?: Omit<RunOptions, "cwd" | "env" | "namespace">): Promise<Finished>;
	/** Removes the key and the known hosts from this machine's disk. */
	close(): void;
}

/** The ssh client's configuration: pure, so that it can be tested. */
export function sshConfig(outputs: StackOutputs, dir: string): { config: string; knownHosts: string } {
	const lines = [
		"Host *",
		`\tIdentityFile ${join(dir, "deploy-key")}`,
		"\tIdentitiesOnly yes",
		`\tUserKnownHostsFile ${join(dir, "known-hosts")}`,
		"\tGlobalKnownHostsFile /dev/null",
		"\tStrictHostKeyChecking yes",
		"\tHostKeyAlgorithms ssh-ed25519",
		"\tConnectTimeout 20",
		"\tServerAliveInterval 15",
	];
	const knownHosts = Object.entries(outputs.hostKeys).map(([name, key]) => `${name} ${key.trim()}`);
	for (const [name, machine] of Object.entries(outputs.machines)) {
		const front = name === "front";
		lines.push(
			`Host ${name}`,
			`\tHostName ${front ? outputs.publicAddress : machine.address}`,
			`\tHostKeyAlias ${name}`,
		);
		if (!front) lines.push("\tProxyJump front");
	}
	for (const [name, { host, port, user }] of Object.entries(outputs.remoteBuilders)) {
		lines.push(`Host ${name}`, `\tHostName ${host}`, `\tPort ${port}`, `\tUser ${user}`, `\tHostKeyAlias ${name}`);
	}
	// ssh takes the first value it finds.
	lines.push("Host *", "\tUser root");
	return { config: `${lines.join("\n")}\n`, knownHosts: `${knownHosts.join("\n")}\n` };
}

/** Opens the way to a stack's machines. The key lies in a root-only folder until close(). */
export function openAccess(outputs: StackOutputs): Access {
	const dir = mkdtempSync(join(tmpdir(), "flathub-ssh-"));
	const { config, knownHosts } = sshConfig(outputs, dir);
	writeFileSync(join(dir, "config"), config, { mode: 0o600 });
	writeFileSync(join(dir, "known-hosts"), knownHosts, { mode: 0o600 });
	writeFileSync(join(dir, "deploy-key"), outputs.deployKey, { mode: 0o600 });
	return {
		ssh: (machine, command, options = {}) => {
			const machines = Object.keys({ ...outputs.machines, ...outputs.remoteBuilders });
			if (!machines.includes(machine)) {
				throw new Error(`Machine ${JSON.stringify(machine)}: expected one of ${machines.join(", ")}.`);
			}
			const quoted = command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
			const terminal = options.interactive && command.length === 0 ? ["-t"] : [];
			const ssh = ["ssh", "-F", join(dir, "config"), ...terminal, machine, ...(quoted === "" ? [] : [quoted])];
			return run(ssh, { timeoutSeconds: Infinity, ...options });
		},
		close: () => rmSync(dir, { recursive: true, force: true }),
	};
}
