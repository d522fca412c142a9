import * as pulumi from "@pulumi/pulumi";
import { Builder } from "../components/builder.ts";
import type { Generated } from "../components/delivery.ts";
import { Front } from "../components/front.ts";
import type { Site } from "../components/machine.ts";
import { Master } from "../components/master.ts";
import { PrivateNetwork } from "../components/private-network.ts";
import { RemoteBuilder } from "../components/remote-builder.ts";
import { Repo } from "../components/repo.ts";
import { type IssuedCertificate, WorkerAuthority } from "../components/worker-authority.ts";
import { workerPassword } from "../components/worker-password.ts";
import { currentMachineType, successionNotice } from "./catalogue.ts";
import {
	buildersOf,
	type Config,
	type Machine,
	machinesOf,
	publicUrlOf,
	remoteBuildersOf,
	theMachine,
} from "./config.ts";
import { makeDeployKey } from "./deploy-key.ts";
import { nftablesRuleset } from "./flows.ts";
import {
	authorizedKeysFor,
	builderInventory,
	frontInventory,
	hostsFor,
	masterInventory,
	remoteBuilderInventory,
	repoInventory,
	workerProxyName,
} from "./generated.ts";
import { remoteBuilderRuleset } from "./remote-builder-firewall.ts";

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
	remoteBuilders: Record<string, { host: string; port: number; user: string }>;
	deployKey: pulumi.Output<string>;
	hostKeys: Record<string, pulumi.Output<string>>;
	changeHookSecret: pulumi.Output<string>;
}

/** The whole of Flathub: front, and behind it on one private network the master, its builders and the repository. */
export function deployFlathub(config: Config, { stack, services, opts = {} }: Deployment): FlathubOutputs {
	for (const { name, type } of machinesOf(config)) {
		const notice = successionNotice(name, type);
		if (notice !== undefined) void pulumi.log.info(notice);
	}

	const deployKey = makeDeployKey(opts);
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
	const authorizedKeys = deployKey.publicKeyOpenssh.apply((key) => authorizedKeysFor(config, key));
	const generated = (machine: Machine, inventory: pulumi.Input<unknown>): Generated => ({
		inventory,
		nftables: nftablesRuleset(machine, { machines: machinesOf(config), privateNetwork: config.privateNetwork }),
		hosts: hostsFor(config),
		authorizedKeys,
	});
	const [inFront, forMaster, forRepo] = (["front", "master", "repo"] as const).map((role) => theMachine(config, role));
	if (!inFront || !forMaster || !forRepo) throw new Error("unreachable: the configuration has one of each");
	const builders = buildersOf(config);
	const remotes = remoteBuildersOf(config);
	const passwords = Object.fromEntries(
		[forRepo, ...builders, ...remotes].map(({ name }) => [name, workerPassword(name, opts).result]),
	);
	const password = (name: string): pulumi.Input<string> => passwords[name] ?? pulumi.secret("");

	const authority = new WorkerAuthority("worker-authority", opts);
	const workerProxy = authority.issueServer("worker-proxy", workerProxyName(config));
	const certificates = Object.fromEntries(remotes.map(({ name }) => [name, authority.issueClient(name)]));
	const listed = pulumi
		.output({ proxy: publicHalf(workerProxy), workers: mapValues(certificates, publicHalf) })
		.apply((certificates) => frontInventory(config, certificates));

	const front = new Front(
		inFront.name,
		{ ...machine(inFront), generated: generated(inFront, listed), workerProxy },
		opts,
	);

	const behindFront = { front: { jump: front.jump, ready: front.ready } };
	const master = new Master(
		forMaster.name,
		{
			...machine(forMaster),
			...behindFront,
			generated: generated(forMaster, masterInventory(config)),
			githubToken: pulumi.secret(config.githubToken),
			workerPasswords: passwords,
		},
		opts,
	);

	const repo = new Repo(
		forRepo.name,
		{
			...machine(forRepo),
			...behindFront,
			generated: generated(forRepo, repoInventory(config)),
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
					...behindFront,
					generated: generated(builder, builderInventory(builder, config)),
					workerPassword: password(builder.name),
				},
				opts,
			),
	);

	for (const remote of remotes) {
		const certificate = certificates[remote.name];
		if (!certificate) throw new Error("unreachable: each has one");
		new RemoteBuilder(
			remote.name,
			{
				remote,
				deployKey: deployKey.privateKeyOpenssh,
				generated: {
					inventory: front.publicAddress.apply((address) => remoteBuilderInventory(remote, config, address)),
					nftables: remoteBuilderRuleset(),
					hosts: "",
					authorizedKeys,
				},
				workerPassword: password(remote.name),
				certificate,
				services,
			},
			opts,
		);
	}

	const all = [front, master, repo, ...workers];
	return {
		publicAddress: front.publicAddress,
		publicUrl: publicUrlOf(config),
		machines: Object.fromEntries(all.map(({ name, address, serverId }) => [name, { address, serverId }])),
		remoteBuilders: Object.fromEntries(remotes.map(({ name, host, port, user }) => [name, { host, port, user }])),
		deployKey: deployKey.privateKeyOpenssh,
		hostKeys: Object.fromEntries([...all, ...remotes].map(({ name, hostKey }) => [name, pulumi.output(hostKey)])),
		changeHookSecret: master.changeHookSecret,
	};
}

function publicHalf({ certificatePem, expires }: IssuedCertificate) {
	return { certificatePem, expires };
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
	return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
