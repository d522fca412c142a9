import { readFileSync } from "node:fs";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";
import * as scaleway from "@pulumiverse/scaleway";
import { type FirstBoot, renderUserData } from "../cloud-init/render.ts";
import type { Role } from "../stacks/config.ts";
import { replacementPolicy } from "../stacks/replacement.ts";
import { bootTimeouts, type Connection, connectionArgs, firstContactTimeouts, type Hop } from "./connection.ts";
import { tagsFor } from "./tags.ts";

/** What every machine of a stack has in common. */
export interface Site {
	/** The stack's name, for the tags. */
	stack: string;
	/** Scaleway's zone. */
	zone: string;
	/** Label of Scaleway's image. */
	image: string;
	/** The private network's subnet in CIDR notation. */
	privateNetwork: string;
	/** The private network's id, with its region. */
	networkId: pulumi.Input<string>;
	/** Front's address on the private network. */
	gateway: string;
	/** The deployment's SSH key. */
	deployKey: tls.PrivateKey;
	/** Whether data volumes and the public address refuse to be deleted. */
	protect: boolean;
	/** Folder with deliver.py and a folder for each role. Default services. */
	services?: string;
}

/** What a machine with a public address has beside the others. */
export interface PublicSide {
	ip: scaleway.instance.Ip;
	securityGroup: scaleway.instance.SecurityGroup;
}

/** What a role's component asks for. */
export interface MachineArgs {
	site: Site;
	role: Role;
	/** A type that can be bought. Another one shuts the machine down and migrates it in place. */
	type: string;
	/** On the private network, reserved for this machine. Another one replaces its network interface. */
	address: string;
	/** Size of the root volume on block storage, in GB; may grow. */
	rootGb: number;
	/** Size of the data volume in GB; may grow. None for a builder. */
	volumeGb?: number | undefined;
	/** For a machine of the private network: front, whose way in and way out it uses. */
	front?: { jump: Hop; ready: pulumi.Resource };
	/** For the one machine with a public address: makes what that takes, as children of the machine. */
	publicSide?: (machine: pulumi.Resource) => PublicSide;
}

/**
 * A server with its data volume, its reserved private address and an SSH host key that is known before it boots. The
 * roles' components extend it; children are named after the machine, so a machine's name is its identity.
 */
export abstract class Machine extends pulumi.ComponentResource {
	/** The inventory's key: host name, worker name and name in Pulumi at once. */
	readonly name: string;
	/** On the private network. */
	readonly address: string;
	protected readonly publicSide: PublicSide | undefined;
	/** The server's id, with its zone. */
	readonly serverId: pulumi.Output<string>;
	/** What sshd on port 22 presents, one line as in known_hosts without the name. Outlives the server. */
	readonly hostKey: pulumi.Output<string>;
	/** The server's id again: a delivery is for one server. */
	readonly identity: pulumi.Output<string>;
	/** How the deployment connects, for as long as the machine lives. */
	readonly connection: Connection;
	/** Done when the first boot is, and went well. */
	readonly ready: command.remote.Command;

	protected constructor(type: string, name: string, args: MachineArgs, opts?: pulumi.ComponentResourceOptions) {
		super(type, name, {}, opts);
		this.name = name;
		this.address = args.address;
		const { site } = args;
		const tags = tagsFor(site.stack, name);
		const policy = replacementPolicy(args.role, site.protect);
		const child = { parent: this };
		this.publicSide = args.publicSide?.(this);

		const hostKey = new tls.PrivateKey(`${name}-host-key`, { algorithm: "ED25519" }, child);
		const bootstrapKey = new tls.PrivateKey(
			`${name}-bootstrap-host-key`,
			{ algorithm: "ECDSA", ecdsaCurve: "P256" },
			child,
		);
		this.hostKey = hostKey.publicKeyOpenssh.apply((key) => key.trim());

		const volume =
			args.volumeGb === undefined
				? undefined
				: new scaleway.block.Volume(
						`${name}-data`,
						{ name: `${name}-data`, sizeInGb: args.volumeGb, iops: 5000, zone: site.zone, tags },
						{ parent: this, protect: policy.protectDataVolume },
					);
		const address = new scaleway.ipam.Ip(
			`${name}-address`,
			{ address: args.address, sources: [{ privateNetworkId: site.networkId }], region: regionOf(site.zone), tags },
			child,
		);

		const userData = pulumi
			.all([volume?.id, site.deployKey.publicKeyOpenssh, bootstrapKey.privateKeyOpenssh])
			.apply(([volumeId, deployKey, bootstrapHostKey]) =>
				renderUserData(
					firstBoot(args.role, volumeId, {
						name,
						privateNetwork: site.privateNetwork,
						gateway: site.gateway,
						deployKey: deployKey.trim(),
						bootstrapHostKey,
					}),
				),
			);
		const server = new scaleway.instance.Server(
			`${name}-server`,
			{
				name,
				type: args.type,
				image: site.image,
				zone: site.zone,
				rootVolume: { sizeInGb: args.rootGb, volumeType: "sbs_volume" },
				// cloudInit would be written once and never compared: a change to it is silently lost.
				userData: { "cloud-init": userData },
				...(volume ? { additionalVolumeIds: [volume.id] } : {}),
				...(this.publicSide
					? { ipIds: [this.publicSide.ip.id], securityGroupId: this.publicSide.securityGroup.id }
					: {}),
				tags,
			},
			{
				parent: this,
				...policy.server,
				// The throw-away key in it verifies the first connection of every server that bears this name, so the whole
				// is a secret in the state. The provider knows no sensitive field here and would store its own copy in
				// clear. How a change reads shows in test/golden, where only that key is a placeholder.
				additionalSecretOutputs: ["userData"],
			},
		);
		this.serverId = server.id;
		this.identity = server.id;
		const nic = new scaleway.instance.PrivateNic(
			`${name}-nic`,
			{ serverId: server.id, privateNetworkId: site.networkId, ipamIpIds: [address.id], zone: site.zone, tags },
			// The reserved address belongs to one interface at a time.
			{ parent: this, deleteBeforeReplace: true },
		);

		const target = this.publicSide ? this.publicSide.ip.address : args.address;
		const through = args.front ? { through: args.front.jump } : {};
		const privateKey = site.deployKey.privateKeyOpenssh;
		this.connection = { host: target, privateKey, hostKey: this.hostKey, ...through };

		const permanentKey = new command.remote.Command(
			`${name}-install-host-key`,
			{
				connection: connectionArgs({
					host: target,
					port: 2222,
					privateKey,
					hostKey: bootstrapKey.publicKeyOpenssh.apply((key) => key.trim()),
					...through,
				}),
				create: "/usr/local/lib/flathub/install-host-key",
				stdin: hostKey.privateKeyOpenssh,
				triggers: [server.id],
			},
			{
				parent: this,
				dependsOn: [nic, ...(args.front ? [args.front.ready] : [])],
				customTimeouts: firstContactTimeouts,
				// Once the machine is ready nothing listens on port 2222; a new server has a new trigger.
				ignoreChanges: ["connection", "create", "stdin"],
			},
		);
		this.ready = new command.remote.Command(
			`${name}-ready`,
			{
				connection: connectionArgs(this.connection),
				create: "python3 -",
				stdin: readFileSync(new URL("../cloud-init/ready.py", import.meta.url), "utf8"),
				triggers: [server.id],
			},
			{ parent: this, dependsOn: [permanentKey], customTimeouts: bootTimeouts },
		);
	}
}

function regionOf(zone: string): string {
	return zone.replace(/-[0-9]+$/, "");
}

interface FirstBootFacts {
	name: string;
	privateNetwork: string;
	gateway: string;
	deployKey: string;
	bootstrapHostKey: string;
}

function firstBoot(role: Role, volumeId: string | undefined, facts: FirstBootFacts): FirstBoot {
	if (role === "builder") return { role, ...facts };
	if (volumeId === undefined) throw new Error(`${facts.name}: a ${role} needs a data volume`);
	// Ids come as zone/uuid; the device is named after the uuid.
	const volume = { volumeId: volumeId.slice(volumeId.lastIndexOf("/") + 1) };
	if (role !== "front") return { role, ...facts, ...volume };
	const { gateway: _itself, ...front } = facts;
	return { role, ...front, ...volume };
}
