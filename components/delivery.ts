import { join } from "node:path";
import * as command from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { type ReleaseFile, releaseFile, releaseFiles, writeBundle } from "../stacks/bundle.ts";
import type { Role } from "../stacks/config.ts";
import { bootTimeouts, connectionArgs } from "./connection.ts";
import type { Machine } from "./machine.ts";

/** What is derived from the inventory for one machine; not secret. */
export interface Generated {
	/** inventory.json: what the role's service has to know. */
	inventory: unknown;
	/** nftables.conf: the complete ruleset. */
	nftables: string;
	/** Lines for /etc/hosts. */
	hosts: string;
	/** Who may log in as root. */
	authorizedKeys: pulumi.Input<string>;
}

export interface DeliveryArgs {
	machine: Machine;
	role: Role;
	generated: Generated;
	/** By file name; they reach only /etc/flathub/secrets, through standard input. */
	secrets: Record<string, pulumi.Input<string>>;
	/** Folder with deliver.py and a folder for each role. Default services. */
	services?: string | undefined;
	/** What has to be delivered or ready before. */
	after: pulumi.Resource[];
}

/**
 * One machine's release: copied, unpacked beside the running one, checked, switched, rolled back if a check fails.
 * Changes when any byte of it or a secret does; runs again on a new server. Every step can be repeated.
 */
export class Delivery extends pulumi.ComponentResource {
	/** Done when the release serves. */
	readonly done: command.remote.Command;

	constructor(name: string, args: DeliveryArgs, opts?: pulumi.ComponentResourceOptions) {
		super("flathub:index:Delivery", name, {}, opts);
		const { machine, generated, role } = args;
		const connection = connectionArgs(machine.connection);
		const bundle = pulumi
			.output(generated.authorizedKeys)
			.apply((keys) =>
				writeBundle(name.replace(/-delivery$/, ""), release(args.services ?? "services", role, generated, keys)),
			);
		const copy = new command.remote.CopyToRemote(
			`${name}-copy`,
			{
				connection,
				source: bundle.apply(({ path }) => new pulumi.asset.FileAsset(path)),
				remotePath: pulumi.interpolate`/var/lib/flathub/incoming/${bundle.release}.tar`,
				triggers: [machine.serverId],
			},
			{ parent: this, dependsOn: [machine.ready], customTimeouts: bootTimeouts },
		);
		this.done = new command.remote.Command(
			`${name}-run`,
			{
				connection,
				create: bundle.apply(({ release, sha256 }) => deliverScript(release, sha256)),
				stdin: pulumi.secret(pulumi.jsonStringify({ secrets: args.secrets })),
				triggers: [machine.serverId],
			},
			{ parent: this, dependsOn: [copy, ...args.after], customTimeouts: bootTimeouts },
		);
		this.registerOutputs();
	}
}

function release(services: string, role: Role, generated: Generated, authorizedKeys: string): ReleaseFile[] {
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
		text("authorized_keys", authorizedKeys),
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
