/** IPv4 arithmetic for the addresses that the cloud hands out. */

export function parseIpv4(text: string): number | undefined {
	const parts = text.split(".");
	if (parts.length !== 4) return undefined;
	let value = 0;
	for (const part of parts) {
		if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
		value = value * 256 + Number(part);
	}
	return value;
}

export function formatIpv4(value: number): string {
	return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
}

export interface Subnet {
	/** First address of the block, as a number. */
	base: number;
	/** How many addresses the block has. */
	size: number;
	prefixLength: number;
}

/** Parses `10.17.0.0/24`; undefined if it is no IPv4 block or if its base has bits beyond the prefix. */
export function parseSubnet(text: string): Subnet | undefined {
	const [address = "", prefix = "", ...rest] = text.split("/");
	const base = parseIpv4(address);
	if (base === undefined || rest.length > 0 || !/^\d{1,2}$/.test(prefix) || Number(prefix) > 32) return undefined;
	const size = 2 ** (32 - Number(prefix));
	return base % size === 0 ? { base, size, prefixLength: Number(prefix) } : undefined;
}

export function overlaps(a: Subnet, b: Subnet): boolean {
	return a.base < b.base + b.size && b.base < a.base + a.size;
}

/** Whether a private network may hand out the address: Scaleway keeps the first two and the last two of a block. */
export function isUsable(subnet: Subnet, address: number): boolean {
	return address >= subnet.base + 2 && address < subnet.base + subnet.size - 2;
}

/** Lowest usable address that is not taken; undefined if the block is full. */
export function firstFree(subnet: Subnet, taken: ReadonlySet<number>): number | undefined {
	for (let address = subnet.base + 2; isUsable(subnet, address); address++) {
		if (!taken.has(address)) return address;
	}
	return undefined;
}
