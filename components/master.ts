import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { Delivery, type Generated } from "./delivery.ts";
import { Machine, type MachineArgs } from "./machine.ts";

export interface MasterArgs
	extends Omit<MachineArgs, "role" | "publicSide" | "front">,
		Required<Pick<MachineArgs, "front">> {
	generated: Generated;
	/** May write commit statuses. */
	githubToken: pulumi.Input<string>;
	/** By worker: the passwords of all that may dial in. */
	workerPasswords: Record<string, pulumi.Input<string>>;
}

/** Buildbot's master with its database. */
export class Master extends Machine {
	/** What GitHub signs its webhooks with. */
	readonly changeHookSecret: pulumi.Output<string>;
	readonly delivery: Delivery;

	constructor(name: string, args: MasterArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:Master", name, { ...args, role: "master" }, opts);
		const changeHookSecret = new random.RandomPassword(
			`${name}-change-hook-secret`,
			{ length: 40, special: false },
			{ parent: this },
		);
		this.changeHookSecret = changeHookSecret.result;
		this.delivery = new Delivery(
			`${name}-delivery`,
			{
				machine: this,
				role: "master",
				generated: args.generated,
				secrets: {
					"worker-passwords.json": pulumi.jsonStringify(args.workerPasswords),
					"change-hook-secret": this.changeHookSecret,
					"github-token": args.githubToken,
				},
				services: args.site.services,
			},
			{ parent: this },
		);
		this.registerOutputs({ serverId: this.serverId, hostKey: this.hostKey });
	}
}
