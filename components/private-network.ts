import * as pulumi from "@pulumi/pulumi";
import * as scaleway from "@pulumiverse/scaleway";
import { tagsFor } from "./tags.ts";

export interface PrivateNetworkArgs {
	/** The stack's name, for the tags. */
	stack: string;
	/** Scaleway's region, such as fr-par. */
	region: string;
	/** In CIDR notation. Another one replaces the network. */
	subnet: string;
}

/** A VPC with one private network. Addresses on it are reserved before the machines exist (see Machine). */
export class PrivateNetwork extends pulumi.ComponentResource {
	/** The private network's id, with its region. */
	readonly networkId: pulumi.Output<string>;

	constructor(name: string, args: PrivateNetworkArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:PrivateNetwork", name, {}, opts);
		const tags = tagsFor(args.stack, name);
		const vpc = new scaleway.network.Vpc(`${name}-vpc`, { name, region: args.region, tags }, { parent: this });
		const network = new scaleway.network.PrivateNetwork(
			`${name}-private-network`,
			{ name, region: args.region, vpcId: vpc.id, ipv4Subnet: { subnet: args.subnet }, tags },
			{ parent: this },
		);
		this.networkId = network.id;
		this.registerOutputs({ networkId: this.networkId });
	}
}
