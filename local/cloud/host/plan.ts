import { dataCentre } from "../hypervisor.ts";

/** Addresses of the data centre. Two data centres on one host need plans that do not overlap. */
export interface AddressPlan {
	/** The uplink's end in the root namespace, plain IPv4. Metadata service and DNS forwarder listen there. */
	uplinkOuter: string;
	/** The uplink's end in the data centre, plain IPv4. */
	uplinkInner: string;
	/** Both ends' network, CIDR. */
	uplinkSubnet: string;
	/** The make-believe internet, CIDR with a prefix length of 24. */
	publicSubnet: string;
	/** Its gateway, plain IPv4. */
	publicGateway: string;
	/** Names that the data centre's DNS answers itself; each stands for its subdomains too. */
	domains: Record<string, string>;
}

/** The plan of the one data centre that `scripts/up local` makes. */
export const defaultPlan: AddressPlan = {
	uplinkOuter: dataCentre.metadataListenAddress,
	uplinkInner: "198.51.100.2",
	uplinkSubnet: "198.51.100.0/30",
	publicSubnet: "198.18.0.0/24",
	publicGateway: dataCentre.publicGateway,
	domains: {
		"github.test": "198.18.0.10",
		"runtimes.test": "198.18.0.10",
		"flathub.test": dataCentre.firstPublicAddress,
	},
};

/** Where Scaleway's guests find the metadata service. */
export const metadataAddress = "169.254.42.42";
/** Next hop that cloud-init's Scaleway datasource puts in the guest's route to the metadata service. */
export const metadataNextHop = "62.210.0.1";
/** DHCP server, router and resolver of every private network at Scaleway. */
export const privateResolver = "169.254.169.254";
/** Port of the metadata service on `uplinkOuter`. */
export const metadataPort = dataCentre.metadataPort;
/** Port of the DNS forwarder on `uplinkOuter`: not 53, which the host may use on every address. */
export const forwarderPort = 8053;
/** Name of the bridge of the make-believe internet. */
export const publicBridge = "public";

/** Bridge of a private network. */
export function bridgeName(privateNetworkId: string): string {
	return `pn-${privateNetworkId.slice(0, 8)}`;
}

/** First usable address of a CIDR (the bridge's own), with the network's prefix length and netmask. */
export function firstAddress(cidr: string): {
	address: string;
	prefixLength: number;
	netmask: string;
	network: string;
} {
	const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\/(\d+)$/.exec(cidr);
	const prefixLength = Number(match?.[5]);
	if (!match || prefixLength < 8 || prefixLength > 29) {
		throw new Error(`subnet ${JSON.stringify(cidr)}: expected an IPv4 CIDR with a prefix length of 8 to 29`);
	}
	const bits = match.slice(1, 5).reduce((value, byte) => value * 256 + Number(byte), 0);
	const size = 2 ** (32 - prefixLength);
	const base = Math.floor(bits / size) * size;
	const dotted = (value: number) => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
	return { address: dotted(base + 1), prefixLength, netmask: dotted(2 ** 32 - size), network: dotted(base) };
}
