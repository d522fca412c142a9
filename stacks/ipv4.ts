/** An IPv4 network in CIDR notation, for checks on an inventory. */
export interface Ipv4Network {
	first: number;
	last: number;
	prefix: number;
}

/** The address as a number, or undefined if it is not one in dotted decimals. */
export function parseIpv4(text: string): number | undefined {
	const parts = text.split(".");
	if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255)) {
		return undefined;
	}
	return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** The network, or undefined if the text is not "address/prefix" with the address being the network's first. */
export function parseIpv4Network(text: string): Ipv4Network | undefined {
	const match = /^([0-9.]+)\/([0-9]|[12][0-9]|3[0-2])$/.exec(text);
	const first = parseIpv4(match?.[1] ?? "");
	if (!match || first === undefined) return undefined;
	const prefix = Number(match[2]);
	const size = 2 ** (32 - prefix);
	return first % size === 0 ? { first, last: first + size - 1, prefix } : undefined;
}

/** Whether a machine may have the address: Scaleway keeps the first two and the last two of a private network. */
export function isUsable(address: number, network: Ipv4Network): boolean {
	return address >= network.first + 2 && address <= network.last - 2;
}

/** Whether the network lies in one of RFC 1918's three. */
export function isPrivate(network: Ipv4Network): boolean {
	return ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"].some((text) => {
		const outer = parseIpv4Network(text);
		return outer !== undefined && network.first >= outer.first && network.last <= outer.last;
	});
}

export function formatIpv4(address: number): string {
	return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");
}
