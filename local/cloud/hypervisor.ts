/**
 * What the local cloud's HTTP API asks of the host: machines, networks and block devices.
 *
 * The API keeps the model (names, states, who is attached to what) and persists it; the hypervisor keeps what exists
 * on the host. Every method is idempotent and may be called again with the same arguments, after a crash of either
 * side too: creating what is there changes nothing, deleting what is not there succeeds. Ids are the API's UUIDs.
 *
 * Errors are thrown with one readable message (what, which object, what to do). The API marks the object as failed
 * and logs the message.
 */
export interface Hypervisor {
	/**
	 * Brings up the data centre: namespace, uplink and NAT, the public bridge, DNS. Adopts machines, volumes and
	 * networks that still run from an earlier process, so that `isRunning` tells the truth afterwards.
	 */
	start(): Promise<void>;

	/**
	 * Takes everything off the host: machines, networks, volumes' devices, rules, routes, changed sysctls. Afterwards
	 * nothing is left but files under the state directory. Works without `start` and on half-made state.
	 */
	stop(): Promise<void>;

	/** Makes an empty block volume. `bytes` is its size; backed by a sparse file. */
	createVolume(volumeId: string, bytes: number): Promise<void>;
	/** Grows a volume, also while its server runs. Never called with less than the present size. */
	resizeVolume(volumeId: string, bytes: number): Promise<void>;
	/** Removes the volume and its data. Only called when no server holds it. */
	deleteVolume(volumeId: string): Promise<void>;

	/** Makes a server's root disk from its image. Called once a server is created, before any `powerOn`. */
	prepareServer(server: { id: string; name: string; imageLabel: string }): Promise<void>;
	/**
	 * Starts a prepared server; resolves once its init process runs (not once it has booted). The machine has its
	 * public NIC, if any, and the given volumes from the start. Private NICs follow through `plugNic`, as on Scaleway.
	 * Does nothing if it already runs.
	 */
	powerOn(server: ServerSpec): Promise<void>;
	/** Shuts a server down, by force after a deadline; resolves once it is off. Root disk and volumes stay. */
	powerOff(serverId: string): Promise<void>;
	/** Powers off if need be and removes the server's root disk and NICs. Data volumes stay. */
	deleteServer(serverId: string): Promise<void>;
	/** Whether the server's machine runs now. */
	isRunning(serverId: string): boolean;
	/** Registers who is told when a machine ends, whatever the reason: its own `poweroff`, a kill, `powerOff`. */
	onExit(callback: (serverId: string) => void): void;

	createPrivateNetwork(network: PrivateNetworkSpec): Promise<void>;
	/** Only called when no NIC is left on it. */
	deletePrivateNetwork(privateNetworkId: string): Promise<void>;

	/**
	 * Gives a server a NIC on a private network; DHCP offers it `address`. Resolves once the link is in the machine.
	 * Called only for running servers: after every `powerOn` the API plugs all the server's NICs again, in order.
	 */
	plugNic(serverId: string, nic: NicSpec): Promise<void>;
	/** Takes the NIC away, also its DHCP reservation. The server may be off or gone. */
	unplugNic(serverId: string, nicId: string): Promise<void>;

	/**
	 * Filters the public side of a server: what reaches `publicAddress` from outside and what leaves from it. Replaces
	 * the rules that are there. Private networks are not filtered, as on Scaleway.
	 */
	applySecurityGroup(serverId: string, publicAddress: string, group: SecurityGroupSpec): Promise<void>;

	/** Removes the rules of `applySecurityGroup` for an address that no server has any more. */
	removeSecurityGroup(serverId: string, publicAddress: string): Promise<void>;
}

/** A server as it is powered on. */
export interface ServerSpec {
	/** UUID; becomes cloud-init's instance-id. */
	id: string;
	/** Host name in the guest. */
	name: string;
	/** Marketplace label of the image, with underscores: `debian_trixie`. */
	imageLabel: string;
	/**
	 * cloud-init's user-data, byte for byte; absent if the server has none. Only for servers without a public NIC, which
	 * find it in a NoCloud seed, made anew at each power-on; the others ask the metadata service.
	 */
	userData?: string;
	/** OpenSSH public keys of the project, for cloud-init's `public-keys`. */
	sshPublicKeys: string[];
	/** Absent: no public address, the first boot has no network until a private NIC comes. */
	publicNic?: PublicNicSpec;
	/** Data volumes, to appear as /dev/disk/by-id/scsi-0SCW_sbs_volume-<uuid>. The root disk is not among them. */
	volumeIds: string[];
}

export interface PublicNicSpec {
	/** Starts with de:00:00. */
	macAddress: string;
	/** With prefix length: `198.18.0.100/24`. */
	address: string;
	/** Plain IPv4: `198.18.0.1`. */
	gateway: string;
}

export interface PrivateNetworkSpec {
	id: string;
	/** IPv4 CIDR: `10.17.0.0/24`. */
	subnet: string;
}

export interface NicSpec {
	id: string;
	/** Starts with 02:00:00, lower case. */
	macAddress: string;
	/** Reserved address with prefix length: `10.17.0.2/24`. */
	address: string;
	privateNetworkId: string;
	/** The server's name, for DNS inside the private network. */
	hostName: string;
}

export interface SecurityGroupSpec {
	/** Whether answers to allowed traffic pass without a rule. */
	stateful: boolean;
	inboundDefault: "accept" | "drop";
	outboundDefault: "accept" | "drop";
	/** In order; the first match decides. */
	rules: SecurityGroupRuleSpec[];
}

export interface SecurityGroupRuleSpec {
	direction: "inbound" | "outbound";
	action: "accept" | "drop";
	protocol: "TCP" | "UDP" | "ICMP" | "ANY";
	/** IPv4 or IPv6 CIDR of the other side. */
	ipRange: string;
	/** First destination port; null means every port. */
	portFrom: number | null;
	/** Last destination port, inclusive; null means `portFrom` alone. */
	portTo: number | null;
}

/** `host/hypervisor.ts` exports `createHypervisor` of this type; the daemon and `down` make theirs with it. */
export type CreateHypervisor = (options: HypervisorOptions) => Hypervisor;

export interface HypervisorOptions {
	/** Existing directory, 0700, for what must survive a restart; the API keeps `cloud.json` and `cloud.log` there. */
	stateDirectory: string;
	/** Directory for what can be made again: the base image. */
	cacheDirectory: string;
	/** One line for the cloud's log. Never secrets or user-data. */
	log: (line: string) => void;
}

/** Addresses and ports that the host's plumbing and the API have to agree on. */
export const dataCentre = {
	publicGateway: "198.18.0.1",
	publicPrefixLength: 24,
	/**
	 * Scaleway's gateway. cloud-init's Scaleway datasource hardcodes an on-link route to the metadata service through it,
	 * so the public bridge has to answer for this address too.
	 */
	scalewayGateway: "62.210.0.1",
	/** Public addresses that the API hands out, first to last. */
	firstPublicAddress: "198.18.0.100",
	lastPublicAddress: "198.18.0.199",
	/** Where the metadata service listens in the root namespace, once `start` has made the uplink. */
	metadataListenAddress: "198.51.100.1",
	metadataPort: 8042,
} as const;
