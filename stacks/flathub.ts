import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import { Builder } from "../components/builder.ts";
import type { Generated } from "../components/delivery.ts";
import { Front } from "../components/front.ts";
import type { Site } from "../components/machine.ts";
import { Master } from "../components/master.ts";
import { PrivateNetwork } from "../components/private-network.ts";
import { Repo } from "../components/repo.ts";
import { workerPassword } from "../components/worker-password.ts";
import { currentMachineType, successionNotice } from "./catalogue.ts";
import { buildersOf, type Config, type Machine, machinesOf, publicUrlOf, theMachine } from "./config.ts";
import { nftablesRuleset } from "./flows.ts";
import { authorizedKeysFor, hostsFor, inventoryFor } from "./generated.ts";

/** What a deployment is told beside its configuration. */
export interface Deployment {
	stack: string;
	/** Folder with deliver.py and a folder for each role. Default services. */
	services?: string;
	/** For every resource; tests look at options through it. */
	opts?: pulumi.ComponentResourceOptions;
}

/** What a stack tells to those who use it; the two secrets are encrypted in the state. */
export interface FlathubOutputs {
	publicAddress: pulumi.Output<string>;
	publicUrl: string;
	machines: Record<string, { address: string; serverId: pulumi.Output<string> }>;
	deployKey: pulumi.Output<string>;
	hostKeys: Record<string, pulumi.Output<string>>;
	changeHookSecret: pulumi.Output<string>;
}

/** The whole of Flathub: front, and behind it on one private network the master, its builders and the repository. */
export function deployFlathub(config: Config, { stack, services, opts = {} }: Deployment): FlathubOutputs {
	for (const { name, type } of machinesOf(config)) {
		const notice = successionNotice(name, type);
		if (notice !== undefined) pulumi.log.info(notice);
	}

	const deployKey = new tls.PrivateKey("deploy-key", { algorithm: "ED25519" }, opts);
	const network = new PrivateNetwork(
		"flathub",
		{ stack, region: config.zone.replace(/-[0-9]+$/, ""), subnet: config.privateNetwork },
		opts,
	);
	const site: Site = {
		stack,
		zone: config.zone,
		image: config.image,
		privateNetwork: config.privateNetwork,
		networkId: network.networkId,
		gateway: theMachine(config, "front").address,
		deployKey,
		protect: config.protect,
		...(services === undefined ? {} : { services }),
	};
	const machine = ({ type, address, rootGb, volumeGb }: Machine) => ({
		site,
		type: currentMachineType(type).name,
		address,
		rootGb,
		volumeGb,
	});
	const generated = (machine: Machine): Generated => ({
		inventory: inventoryFor(machine, config),
		nftables: nftablesRuleset(machine, { machines: machinesOf(config), privateNetwork: config.privateNetwork }),
		hosts: hostsFor(config),
		authorizedKeys: deployKey.publicKeyOpenssh.apply((key) => authorizedKeysFor(config, key)),
	});
	const [inFront, forMaster, forRepo] = (["front", "master", "repo"] as const).map((role) => theMachine(config, role));
	if (!inFront || !forMaster || !forRepo) throw new Error("unreachable: the configuration has one of each");
	const builders = buildersOf(config);
	const passwords = Object.fromEntries(
		[forRepo, ...builders].map(({ name }) => [name, workerPassword(name, opts).result]),
	);
	const password = (name: string): pulumi.Input<string> => passwords[name] ?? pulumi.secret("");

	const front = new Front(inFront.name, { ...machine(inFront), generated: generated(inFront) }, opts);

	const behindFront = { front: { jump: front.jump, ready: front.ready } };
	const master = new Master(
		forMaster.name,
		{
			...machine(forMaster),
			...behindFront,
			generated: generated(forMaster),
			githubToken: pulumi.secret(config.githubToken),
			workerPasswords: passwords,
		},
		opts,
	);

	const behindMaster = { ...behindFront, master: master.delivery.done };
	const repo = new Repo(
		forRepo.name,
		{
			...machine(forRepo),
			...behindMaster,
			generated: generated(forRepo),
			workerPassword: password(forRepo.name),
			signingKey: pulumi.secret(config.signingKey),
		},
		opts,
	);
	const workers = builders.map(
		(builder) =>
			new Builder(
				builder.name,
				{
					...machine(builder),
					...behindMaster,
					generated: generated(builder),
					workerPassword: password(builder.name),
				},
				opts,
			),
	);

	const all = [front, master, repo, ...workers];
	return {
		publicAddress: front.publicAddress,
		publicUrl: publicUrlOf(config),
		machines: Object.fromEntries(all.map(({ name, address, serverId }) => [name, { address, serverId }])),
		deployKey: deployKey.privateKeyOpenssh,
		hostKeys: Object.fromEntries(all.map(({ name, hostKey }) => [name, hostKey])),
		changeHookSecret: master.changeHookSecret,
	};
}
