import { join } from "node:path";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { type ReleaseFile, releaseFile, releaseFiles, writeBundle } from "../stacks/bundle.ts";
import type { Role } from "../stacks/config.ts";
import { asRoot, bootTimeouts, type Connection, connectionArgs } from "./connection.ts";

/** What is derived from the inventory for one machine; not secret. */
export interface Generated {
	/** inventory.json: what the role's service has to know. */
	inventory: pulumi.Input<unknown>;
	/** nftables.conf: the complete ruleset, or on a guest's machine our own table. */
	nftables: string;
	/** Lines for /etc/hosts. */
	hosts: string;
	/** Who may log in as root. */
	authorizedKeys: pulumi.Input<string>;
	/** guest.json, where the machine is somebody else's and Flathub its guest: only what is ours is touched there. */
	guest?: Guest;
}

/** Flathub's place on a machine that is somebody else's. */
export interface Guest {
	/** Who logs in for Flathub: in this account's authorised keys it has lines of its own. */
	user: string;
}

/** A machine that can be delivered to. */
export interface DeliveryTarget {
	connection: Connection;
	/** Another value is another machine, to which everything is delivered again. */
	identity: pulumi.Input<string>;
	/** Done when the machine can take a delivery. */
	ready: pulumi.Resource;
}

export interface DeliveryArgs {
	machine: DeliveryTarget;
	role: Role;
	generated: Generated;
	/** By file name; they reach only /etc/flathub/secrets, through standard input. */
	secrets: Record<string, pulumi.Input<string>>;
	/** Folder with deliver.py and a folder for each role. Default services. */
	services?: string | undefined;
}

/**
 * One machine's release: copied, unpacked beside the running one, checked, switched, rolled back if a check fails.
 * Changes when any byte of it or a secret does; runs again on a new server. Every step can be repeated. It waits for no
 * other machine's: a worker keeps dialling until the master lets it in, while the master, before it restarts, waits for
 * builds that may need a worker of a builder that has just been replaced.
 */
export class Delivery extends pulumi.ComponentResource {
	/** Done when the release serves. */
	readonly done: command.remote.Command;

	constructor(name: string, args: DeliveryArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:Delivery", name, {}, opts);
		const { machine, generated, role } = args;
		const connection = connectionArgs(machine.connection);
		const bundle = pulumi
			.all([generated.authorizedKeys, generated.inventory])
			.apply(([authorizedKeys, inventory]) =>
				writeBundle(
					name.replace(/-delivery$/, ""),
					release(args.services ?? "services", role, { ...generated, authorizedKeys, inventory }),
				),
			);
		const copy = new command.remote.CopyToRemote(
			`${name}-copy`,
			{
				connection,
				source: bundle.apply(({ path }) => new pulumi.asset.FileAsset(path)),
				remotePath: pulumi.interpolate`/var/lib/flathub/incoming/${bundle.release}.tar`,
				triggers: [machine.identity],
			},
			{ parent: this, dependsOn: [machine.ready], customTimeouts: bootTimeouts },
		);
		this.done = new command.remote.Command(
			`${name}-run`,
			{
				connection,
				create: bundle.apply(({ release, sha256 }) => asRoot(machine.connection, deliverScript(release, sha256))),
				stdin: pulumi.secret(pulumi.jsonStringify({ secrets: args.secrets })),
				triggers: [machine.identity],
			},
			{ parent: this, dependsOn: [copy], customTimeouts: bootTimeouts },
		);
		this.registerOutputs();
	}
}

function release(services: string, role: Role, generated: Generated & { authorizedKeys: string }): ReleaseFile[] {
	const text = (path: string, content: string): ReleaseFile => ({
		path: `generated/${path}`,
		content: Buffer.from(content),
		executable: false,
	});
	return [
		releaseFile(join(services, "deliver.py"), "deliver.py"),
		...releaseFiles(join(services, role), "role"),
		text("inventory.json", `${JSON.stringify(generated.inventory, null, 2)}\n`),
		text("nftables.conf", generated.nftables),
		text("hosts", generated.hosts),
		text("authorized_keys", generated.authorizedKeys),
		...(generated.guest ? [text("guest.json", `${JSON.stringify(generated.guest)}\n`)] : []),
	];
}

/** Unpacks the copied tar, once, after checking that it arrived whole, and hands over to the release's deliver.py. */
function deliverScript(release: string, sha256: string): string {
	return `set -eu
incoming=/var/lib/flathub/incoming
target=/opt/flathub/releases/${release}
if [ ! -d "$target" ]; then
	echo "${sha256}  $incoming/${release}.tar" | sha256sum --check --quiet
	rm -rf "$target.new"
	mkdir -p "$target.new"
	tar -xf "$incoming/${release}.tar" -C "$target.new"
	sync -f "$target.new"
	mv -T "$target.new" "$target"
fi
find "$incoming" -name '*.tar' ! -name '${release}.tar' -delete
cd "$target"
exec python3 deliver.py
`;
}
