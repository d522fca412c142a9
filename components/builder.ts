import type * as pulumi from "@pulumi/pulumi";
import { Delivery, type Generated } from "./delivery.ts";
import { Machine, type MachineArgs } from "./machine.ts";

export interface BuilderArgs
	extends Omit<MachineArgs, "role" | "publicSide" | "front" | "volumeGb">,
		Required<Pick<MachineArgs, "front">> {
	generated: Generated;
	/** What it registers with at the master. */
	workerPassword: pulumi.Input<string>;
}

/** A Buildbot worker that runs flatpak-builder. Holds nothing: it is replaced whenever its first boot changes. */
export class Builder extends Machine {
	readonly delivery: Delivery;

	constructor(name: string, args: BuilderArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:Builder", name, { ...args, role: "builder" }, opts);
		this.delivery = new Delivery(
			`${name}-delivery`,
			{
				machine: this,
				role: "builder",
				generated: args.generated,
				secrets: { "worker-password": args.workerPassword },
				services: args.site.services,
			},
			{ parent: this },
		);
		this.registerOutputs({ serverId: this.serverId, hostKey: this.hostKey });
	}
}
