import type { types } from "@pulumi/command";
import type * as pulumi from "@pulumi/pulumi";

/** One end of an SSH connection whose host key is known beforehand. */
export interface Hop {
	host: pulumi.Input<string>;
	/** 22 if not given. */
	port?: number;
	/** Root if not given; another one has to be allowed to use sudo without a password. */
	user?: string;
	/** Private key of the user's account, OpenSSH's format. */
	privateKey: pulumi.Input<string>;
	/** The only host key that is accepted, as in known_hosts without the name. Not optional: without it the plugin checks nothing. */
	hostKey: pulumi.Input<string>;
	/**
	 * How many attempts to connect may fail, each after 15 s at the latest. Default: as many as the resource's timeout
	 * allows, for a machine that boots; ten, the plugin's own default, are over in 11 s.
	 */
	dialErrorLimit?: number;
}

/** A connection to a machine, directly or through one jump host. */
export interface Connection extends Hop {
	through?: Hop;
}

/** How long a command that has to wait for a machine may take. Dialling goes on for as long. */
export const bootTimeouts = { create: "30m", update: "30m" };

/** How long a machine may take from power-on to its first sshd: one that never boots fails the deployment by name. */
export const firstContactTimeouts = { create: "10m", update: "10m" };

/** How long taking a machine out may wait for one that does not answer. */
export const removalTimeouts = { delete: "3m" };

function dial({ host, port, user, privateKey, hostKey, dialErrorLimit }: Hop) {
	return {
		host,
		port: port ?? 22,
		user: user ?? "root",
		privateKey,
		hostKey,
		dialErrorLimit: dialErrorLimit ?? -1,
		perDialTimeout: 15,
	};
}

/** A connection as the command plugin takes it. */
export function connectionArgs(connection: Connection): types.input.remote.ConnectionArgs {
	return { ...dial(connection), ...(connection.through ? { proxy: dial(connection.through) } : {}) };
}

/** A shell command as it has to be sent so that root runs it; standard input is the command's. */
export function asRoot({ user }: Hop, shellCommand: string): string {
	return user === undefined || user === "root" ? shellCommand : `sudo -n sh -c ${shellQuoted(shellCommand)}`;
}

/** A text as one word of a POSIX shell. */
export function shellQuoted(text: string): string {
	return `'${text.replaceAll("'", `'\\''`)}'`;
}
