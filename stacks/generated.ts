import { buildersOf, type Config, type Machine, machinesOf, publicUrlOf, theMachine } from "./config.ts";

/** Where the Flatpak repository is, with a slash at its end. */
function repositoryUrl(config: Config): string {
	return `${publicUrlOf(config)}/repo/`;
}

/** What a machine's service has to know of the stack: inventory.json of its release. Nothing in it is secret. */
export function inventoryFor(machine: Machine, config: Config): unknown {
	const master = theMachine(config, "master");
	const publicUrl = publicUrlOf(config);
	switch (machine.role) {
		case "master":
			return {
				domain: config.domain,
				publicUrl,
				github: config.github,
				repositoryUrl: repositoryUrl(config),
				publisher: theMachine(config, "repo").name,
				runtimeRemotes: config.runtimeRemotes,
				workers: buildersOf(config).map(({ name, architectures, maxBuilds }) => ({ name, architectures, maxBuilds })),
			};
		case "builder":
			return {
				name: machine.name,
				master: master.address,
				architectures: machine.architectures ?? [],
				maxBuilds: machine.maxBuilds ?? 1,
				runtimeRemotes: config.runtimeRemotes,
			};
		case "repo":
			return {
				name: machine.name,
				master: master.address,
				domain: config.domain,
				publicUrl,
				repositoryUrl: repositoryUrl(config),
			};
		case "front":
			return {
				domain: config.domain,
				publicUrl,
				master: master.address,
				repo: theMachine(config, "repo").address,
				resolver: null,
			};
		default:
			return machine.role satisfies never;
	}
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
