import type * as pulumi from "@pulumi/pulumi";
import { Delivery, type Generated } from "./delivery.ts";
import { Machine, type MachineArgs } from "./machine.ts";

export interface RepoArgs
	extends Omit<MachineArgs, "role" | "publicSide" | "front">,
		Required<Pick<MachineArgs, "front">> {
	generated: Generated;
	/** What its publishing worker registers with at the master. */
	workerPassword: pulumi.Input<string>;
	/** Armored and protected by a passphrase, which an operator gives to the agent and nobody stores. */
	signingKey: pulumi.Input<string>;
}

/** The Flatpak repository: publisher, signing key, nginx behind front. Its data volume outlives it. */
export class Repo extends Machine {
	readonly delivery: Delivery;

	constructor(name: string, args: RepoArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:Repo", name, { ...args, role: "repo" }, opts);
		this.delivery = new Delivery(
			`${name}-delivery`,
			{
				machine: this,
				role: "repo",
				generated: args.generated,
				secrets: { "worker-password": args.workerPassword, "signing-key.asc": args.signingKey },
				services: args.site.services,
			},
			{ parent: this },
		);
		this.registerOutputs({ serverId: this.serverId, hostKey: this.hostKey });
	}
}
