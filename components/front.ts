import type * as pulumi from "@pulumi/pulumi";
import * as scaleway from "@pulumiverse/scaleway";
import { securityGroupRules } from "../stacks/flows.ts";
import { replacementPolicy } from "../stacks/replacement.ts";
import type { Hop } from "./connection.ts";
import { Delivery, type Generated } from "./delivery.ts";
import { Machine, type MachineArgs, type PublicSide, type Site } from "./machine.ts";
import { tagsFor } from "./tags.ts";
import type { IssuedCertificate } from "./worker-authority.ts";

export interface FrontArgs extends Omit<MachineArgs, "role" | "publicSide" | "front"> {
	generated: Generated;
	/** What the port for workers from outside shows, and whose certificates it takes. */
	workerProxy: IssuedCertificate;
}

/** The only machine with a public address: nginx, NAT and jump host for all the others. */
export class Front extends Machine {
	/** IPv4. Outlives the server. */
	readonly publicAddress: pulumi.Output<string>;
	/** How the other machines are reached. */
	readonly jump: Hop;
	readonly delivery: Delivery;

	constructor(name: string, args: FrontArgs, opts?: pulumi.ComponentResourceOptions) {
		const { site } = args;
		super("flathub:index:Front", name, { ...args, role: "front", publicSide: publicSide(name, site) }, opts);
		if (!this.publicSide) throw new Error("unreachable: it was asked for");
		const { address } = this.publicSide.ip;
		this.publicAddress = address;
		this.jump = { host: address, privateKey: site.deployKey.privateKeyOpenssh, hostKey: this.hostKey };
		this.delivery = new Delivery(
			`${name}-delivery`,
			{
				machine: this,
				role: "front",
				generated: args.generated,
				secrets: {
					"worker-proxy-certificate.pem": args.workerProxy.certificatePem,
					"worker-proxy-key.pem": args.workerProxy.privateKeyPem,
					"worker-authority.pem": args.workerProxy.authorityPem,
				},
				services: site.services,
			},
			{ parent: this },
		);
		this.registerOutputs({ serverId: this.serverId, hostKey: this.hostKey, publicAddress: this.publicAddress });
	}
}

function publicSide(name: string, site: Site) {
	const tags = tagsFor(site.stack, name);
	return (parent: pulumi.Resource): PublicSide => ({
		ip: new scaleway.instance.Ip(
			`${name}-public-address`,
			{ zone: site.zone, tags },
			{ parent, protect: replacementPolicy("front", site.protect).protectPublicAddress },
		),
		securityGroup: new scaleway.instance.SecurityGroup(
			`${name}-security-group`,
			{
				name,
				description: "What may reach the one public address; made from stacks/flows.ts",
				zone: site.zone,
				inboundDefaultPolicy: "drop",
				outboundDefaultPolicy: "accept",
				inboundRules: securityGroupRules(),
				tags,
			},
			{ parent },
		),
	});
}
