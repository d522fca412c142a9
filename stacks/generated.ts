import { createHash } from "node:crypto";
import {
	type Architecture,
	buildersOf,
	type Config,
	machinesOf,
	publicUrlOf,
	type RemoteBuilderConfig,
	remoteBuildersOf,
	theMachine,
} from "./config.ts";

/**
 * Where the Flatpak repository is, with a slash at its end. Every client that has added the remote keeps it: it is a name of
 * the repository's own, so that the repository can move away from the website.
 */
function repositoryUrl(config: Config): string {
	return `${config.scheme}://dl.${config.domain}/repo/`;
}

/** Where the workers that dial in from outside reach the master: front's port for them, and the name in its certificate. */
const workerPort = 9990;

export function workerProxyName(config: Config): string {
	return `workers.${config.domain}`;
}

/** inventory.json of the master: what its service has to know of the stack. No inventory holds a secret. */
export function masterInventory(config: Config): unknown {
	return {
		publicUrl: publicUrlOf(config),
		github: config.github,
		publisher: theMachine(config, "repo").name,
		workers: [...buildersOf(config), ...remoteBuildersOf(config)].map(({ name, architectures, maxBuilds }) => ({
			name,
			architectures,
			maxBuilds,
		})),
	};
}

/** inventory.json of the repository. */
export function repoInventory(config: Config): unknown {
	return {
		name: theMachine(config, "repo").name,
		master: theMachine(config, "master").address,
		publicUrl: publicUrlOf(config),
		repositoryUrl: repositoryUrl(config),
	};
}

/** How a worker reaches the master. */
interface MasterEnd {
	host: string;
	port: number;
	/** The name that the other end's certificate must have; null where there is no TLS, on the private network. */
	tlsName: string | null;
}

function workerInventory(
	{ name, architectures, maxBuilds }: { name: string; architectures: Architecture[]; maxBuilds: number },
	master: MasterEnd,
	config: Config,
): unknown {
	return { name, master, architectures, maxBuilds, runtimeRemotes: config.runtimeRemotes };
}

/** inventory.json of a builder of the private network. */
export function builderInventory(builder: ReturnType<typeof buildersOf>[number], config: Config): unknown {
	return workerInventory(builder, { host: theMachine(config, "master").address, port: 9989, tlsName: null }, config);
}

/**
 * inventory.json of a remote builder.
 *
 * @param frontAddress front's public address: names may be blocked or late where the machine is
 */
export function remoteBuilderInventory(remote: RemoteBuilderConfig, config: Config, frontAddress: string): unknown {
	return workerInventory(remote, { host: frontAddress, port: workerPort, tlsName: workerProxyName(config) }, config);
}

/** What front has to know of a certificate. */
export interface CertificateFacts {
	certificatePem: string;
	/** When it ends, as RFC 3339 has it. */
	expires: string;
}

/** The certificates of the port for workers from outside: its own, and those that are let in, by worker. */
export interface WorkerCertificates {
	proxy: CertificateFacts;
	workers: Readonly<Record<string, CertificateFacts>>;
}

/** inventory.json of front. A worker whose certificate is not listed in it gets nothing. */
export function frontInventory(config: Config, certificates: WorkerCertificates): unknown {
	return {
		domain: config.domain,
		publicUrl: publicUrlOf(config),
		repositoryUrl: repositoryUrl(config),
		master: theMachine(config, "master").address,
		repo: theMachine(config, "repo").address,
		workerProxy: { name: workerProxyName(config), expires: certificates.proxy.expires },
		workers: Object.entries(certificates.workers)
			.map(([name, { certificatePem, expires }]) => ({ name, fingerprint: fingerprint(certificatePem), expires }))
			.sort((a, b) => (a.name < b.name ? -1 : 1)),
	};
}

/** A certificate's SHA-1 in small hexadecimal digits, which is what nginx knows it by. */
function fingerprint(certificatePem: string): string {
	const base64 = certificatePem.replace(/-----[A-Z ]+-----/g, "");
	return createHash("sha1").update(Buffer.from(base64, "base64")).digest("hex");
}

/** The inventory's names, as lines for /etc/hosts. */
export function hostsFor(config: Config): string {
	return machinesOf(config)
		.map(({ name, address }) => `${address}\t${name}\n`)
		.join("");
}

/** Who may log in as root: the deployment, and the operators by name. */
export function authorizedKeysFor(config: Config, deployKey: string): string {
	const operators = Object.entries(config.operators).sort(([a], [b]) => (a < b ? -1 : 1));
	const keys = operators.map(([name, key]) => `${key.split(" ").slice(0, 2).join(" ")} ${name}\n`);
	return [`${deployKey.trim()} deployment\n`, ...keys].join("");
}
