import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** The cloud's model, as it is kept in `cloud.json`. Dates are ISO strings in UTC; sizes are bytes. */

const dates = { createdAt: z.string(), updatedAt: z.string() };

const vpc = z.strictObject({
	...dates,
	id: z.string(),
	name: z.string(),
	tags: z.array(z.string()),
	isDefault: z.boolean(),
	transitivityEnabled: z.boolean(),
});

const subnet = z.strictObject({ id: z.string(), cidr: z.string(), isIpv6: z.boolean() });

const privateNetwork = z.strictObject({
	...dates,
	id: z.string(),
	name: z.string(),
	tags: z.array(z.string()),
	vpcId: z.string(),
	subnets: z.array(subnet),
	defaultRoutePropagationEnabled: z.boolean(),
});

const ipamIp = z.strictObject({
	...dates,
	id: z.string(),
	/** With the subnet's prefix length. */
	address: z.string(),
	isIpv6: z.boolean(),
	privateNetworkId: z.string(),
	subnetId: z.string(),
	tags: z.array(z.string()),
	/** Booked by a client, and so outlives the NIC that uses it. */
	isBooked: z.boolean(),
	nicId: z.string().nullable(),
});

const volume = z.strictObject({
	...dates,
	id: z.string(),
	name: z.string(),
	tags: z.array(z.string()),
	size: z.number(),
	iops: z.number(),
	status: z.enum(["creating", "available", "in_use", "updating", "error", "deleting"]),
	/** A root volume's data is the machine's root disk, made and removed with its server. */
	isRoot: z.boolean(),
	reference: z.strictObject({ id: z.string(), serverId: z.string(), createdAt: z.string() }).nullable(),
	lastDetachedAt: z.string().nullable(),
});

const publicIp = z.strictObject({
	id: z.string(),
	address: z.string(),
	tags: z.array(z.string()),
	serverId: z.string().nullable(),
});

const securityGroupRule = z.strictObject({
	id: z.string(),
	direction: z.enum(["inbound", "outbound"]),
	action: z.enum(["accept", "drop"]),
	protocol: z.enum(["TCP", "UDP", "ICMP", "ANY"]),
	ipRange: z.string(),
	portFrom: z.number().nullable(),
	portTo: z.number().nullable(),
});

const securityGroup = z.strictObject({
	...dates,
	id: z.string(),
	name: z.string(),
	description: z.string().nullable(),
	tags: z.array(z.string()),
	stateful: z.boolean(),
	inboundDefault: z.enum(["accept", "drop"]),
	outboundDefault: z.enum(["accept", "drop"]),
	/** Drops outgoing mail. */
	enableDefaultSecurity: z.boolean(),
	isProjectDefault: z.boolean(),
	state: z.enum(["available", "syncing", "syncing_error"]),
	rules: z.array(securityGroupRule),
});

const server = z.strictObject({
	...dates,
	id: z.string(),
	name: z.string(),
	commercialType: z.string(),
	imageId: z.string(),
	tags: z.array(z.string()),
	state: z.enum(["stopped", "starting", "running", "stopping", "stopped in place"]),
	stateDetail: z.string(),
	protected: z.boolean(),
	macAddress: z.string(),
	securityGroupId: z.string(),
	publicIpIds: z.array(z.string()),
	rootVolumeId: z.string().nullable(),
	/** Data volumes in the order of their slots. */
	volumeIds: z.array(z.string()),
	userData: z.record(z.string(), z.string()),
});

const privateNic = z.strictObject({
	...dates,
	id: z.string(),
	serverId: z.string(),
	privateNetworkId: z.string(),
	macAddress: z.string(),
	state: z.enum(["syncing", "available", "syncing_error"]),
	tags: z.array(z.string()),
	ipamIpIds: z.array(z.string()),
});

const sshKey = z.strictObject({
	...dates,
	id: z.string(),
	name: z.string(),
	publicKey: z.string(),
	fingerprint: z.string(),
	disabled: z.boolean(),
});

const cloudState = z.strictObject({
	version: z.literal(1),
	vpcs: z.record(z.string(), vpc),
	privateNetworks: z.record(z.string(), privateNetwork),
	ipamIps: z.record(z.string(), ipamIp),
	volumes: z.record(z.string(), volume),
	publicIps: z.record(z.string(), publicIp),
	securityGroups: z.record(z.string(), securityGroup),
	servers: z.record(z.string(), server),
	privateNics: z.record(z.string(), privateNic),
	sshKeys: z.record(z.string(), sshKey),
});

export type CloudState = z.infer<typeof cloudState>;
export type Vpc = z.infer<typeof vpc>;
export type PrivateNetwork = z.infer<typeof privateNetwork>;
export type IpamIp = z.infer<typeof ipamIp>;
export type Volume = z.infer<typeof volume>;
export type PublicIp = z.infer<typeof publicIp>;
export type SecurityGroup = z.infer<typeof securityGroup>;
export type SecurityGroupRule = z.infer<typeof securityGroupRule>;
export type Server = z.infer<typeof server>;
export type PrivateNic = z.infer<typeof privateNic>;
export type SshKey = z.infer<typeof sshKey>;

function emptyState(): CloudState {
	return {
		version: 1,
		vpcs: {},
		privateNetworks: {},
		ipamIps: {},
		volumes: {},
		publicIps: {},
		securityGroups: {},
		servers: {},
		privateNics: {},
		sshKeys: {},
	};
}

/** Path of the model inside a state directory. */
export function statePath(stateDirectory: string): string {
	return join(stateDirectory, "cloud.json");
}

/**
 * Reads the model; an empty one if there is none yet.
 *
 * @throws if the file is there and can't be understood: its machines may still run, so nothing is started beside them.
 */
export function loadState(stateDirectory: string): CloudState {
	const path = statePath(stateDirectory);
	let text: string;
	try {
		text = readFileSync(path, "utf8");
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return emptyState();
		throw new Error(`can't read the local cloud's state ${path}: ${(error as Error).message}`);
	}
	try {
		return cloudState.parse(JSON.parse(text));
	} catch (error) {
		const reason = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
		throw new Error(`the local cloud's state ${path} can't be understood; run scripts/down local first\n${reason}`);
	}
}

/** Writes the model so that a crash at any instant leaves the old or the new file, never a part. */
export function saveState(stateDirectory: string, state: CloudState): void {
	mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
	const path = statePath(stateDirectory);
	const temporary = `${path}.new`;
	const descriptor = openSync(temporary, "w", 0o600);
	try {
		writeSync(descriptor, `${JSON.stringify(state, undefined, "\t")}\n`);
		fsyncSync(descriptor);
	} finally {
		closeSync(descriptor);
	}
	renameSync(temporary, path);
}
