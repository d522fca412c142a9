import { readFileSync } from "node:fs";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { builder } from "../cloud-init/builder.ts";
import type { RemoteBuilderConfig } from "../stacks/config.ts";
import { asRoot, bootTimeouts, type Connection, connectionArgs, removalTimeouts, shellQuoted } from "./connection.ts";
import { Delivery, type Generated } from "./delivery.ts";
import type { IssuedCertificate } from "./worker-authority.ts";

export interface RemoteBuilderArgs {
	/** How it is reached, directly. */
	remote: RemoteBuilderConfig;
	/** The deployment's private key, which the machine's owner has let in. */
	deployKey: pulumi.Input<string>;
	generated: Omit<Generated, "guest">;
	/** What it registers with at the master. */
	workerPassword: pulumi.Input<string>;
	/** What it shows to front. */
	certificate: IssuedCertificate;
	/** Folder with deliver.py and a folder for each role. Default services. */
	services?: string | undefined;
}

/**
 * A builder in another's data centre: a machine that Pulumi did not make, managed over SSH only, where Flathub is a
 * guest. Another host key means a new machine or a new system on it: everything is done again. Another host means that
 * the one before is taken out.
 */
export class RemoteBuilder extends pulumi.ComponentResource {
	/** The inventory's key: worker name and name in Pulumi at once. */
	readonly name: string;
	readonly delivery: Delivery;

	constructor(name: string, args: RemoteBuilderArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:RemoteBuilder", name, {}, opts);
		this.name = name;
		const { host, port, user, hostKey } = args.remote;
		// It runs already: one that can't be reached, or has not let the key in, is not waited for as one that boots.
		const connection: Connection = { host, port, user, hostKey, privateKey: args.deployKey, dialErrorLimit: 20 };
		const guest = { user };
		const program = (parameters: unknown) => asRoot(connection, `python3 - ${shellQuoted(JSON.stringify(parameters))}`);
		// Noted on the machine, so that a line that was renamed does not take out what its successor has put there.
		const place = `${host}:${port}`;
		const owner = `${name} ${place} ${hostKey}`;

		// Made first, so it is the last to go: nothing happens until the line is gone from the configuration.
		const removal = new command.remote.Command(
			`${name}-removal`,
			{
				connection: connectionArgs(connection),
				delete: program({ owner, guest, users: builder.users }),
				stdin: source("removal.py"),
				triggers: [place],
			},
			{ parent: this, customTimeouts: removalTimeouts },
		);
		const setup = new command.remote.Command(
			`${name}-setup`,
			{
				connection: connectionArgs(connection),
				create: program({ owner, guest, users: builder.users, packages: builder.packages }),
				stdin: source("files/machine/machine_setup.py"),
				triggers: [hostKey],
			},
			{ parent: this, dependsOn: [removal], customTimeouts: bootTimeouts },
		);
		this.delivery = new Delivery(
			`${name}-delivery`,
			{
				machine: { connection, identity: hostKey, ready: setup },
				role: "builder",
				generated: { ...args.generated, guest },
				secrets: {
					"worker-password": args.workerPassword,
					"worker-certificate.pem": args.certificate.certificatePem,
					"worker-key.pem": args.certificate.privateKeyPem,
					"worker-authority.pem": args.certificate.authorityPem,
				},
				services: args.services,
			},
			{ parent: this },
		);
		this.registerOutputs();
	}
}

/** A program of cloud-init's folder, for python3's standard input. */
function source(path: string): string {
	return readFileSync(new URL(`../cloud-init/${path}`, import.meta.url), "utf8");
}
