/**
 * Scaleway's machine types that an inventory may name: those on sale in fr-par-1 as its API listed them on 2026-06-23,
 * and the retired ones with the type that takes their place. Retired names stay legal: an inventory says what a machine
 * was meant to be, and the preview says what it will be.
 */

export interface MachineType {
	name: string;
	arch: "x86_64" | "arm64";
	vcpu: number;
	ramGb: number;
	/** Price in euros; null for types that the API no longer lists. */
	hourlyEuro: number | null;
	/** For a retired type: the one that is used in its place. */
	successor?: string;
}

type Row = [name: string, arch: "x86_64" | "arm64", vcpu: number, ramGb: number, hourlyEuro: number];
type RetiredRow = [
	name: string,
	arch: "x86_64" | "arm64",
	vcpu: number,
	ramGb: number,
	hourlyEuro: number | null,
	successor: string,
];

const onSale: Row[] = [
	["STARDUST1-S", "x86_64", 1, 1, 0.0006],
	["DEV1-S", "x86_64", 2, 2, 0.008976],
	["DEV1-M", "x86_64", 3, 4, 0.020196],
	["DEV1-L", "x86_64", 4, 8, 0.04284],
	["DEV1-XL", "x86_64", 4, 12, 0.065076],
	["PLAY2-PICO", "x86_64", 1, 2, 0.01428],
	["PLAY2-NANO", "x86_64", 2, 4, 0.02754],
	["PLAY2-MICRO", "x86_64", 4, 8, 0.05508],
	["BASIC2-A2C-4G", "arm64", 2, 4, 0.023],
	["BASIC2-A2C-8G", "arm64", 2, 8, 0.0345],
	["BASIC2-A4C-8G", "arm64", 4, 8, 0.0517],
	["BASIC3-X2C-4G", "x86_64", 2, 4, 0.039449],
	["BASIC3-X2C-8G", "x86_64", 2, 8, 0.059225],
	["BASIC3-X4C-8G", "x86_64", 4, 8, 0.079001],
	["GP1-XS", "x86_64", 4, 16, 0.09282],
	["GP1-S", "x86_64", 8, 32, 0.19074],
	["GP1-M", "x86_64", 16, 64, 0.38352],
	["PRO2-XXS", "x86_64", 2, 8, 0.0561],
	["PRO2-XS", "x86_64", 4, 16, 0.1122],
	["PRO2-S", "x86_64", 8, 32, 0.22338],
	["PRO2-M", "x86_64", 16, 64, 0.44676],
	["POP2-HC-2C-4G", "x86_64", 2, 4, 0.0532],
	["POP2-HC-4C-8G", "x86_64", 4, 8, 0.1064],
	["POP2-HC-8C-16G", "x86_64", 8, 16, 0.2128],
	["POP2-2C-8G", "x86_64", 2, 8, 0.0735],
	["POP2-4C-16G", "x86_64", 4, 16, 0.147],
	["POP2-8C-32G", "x86_64", 8, 32, 0.29],
	["COMPUTE3-X2C-4G", "x86_64", 2, 4, 0.0585],
	["COMPUTE3-X4C-8G", "x86_64", 4, 8, 0.117],
	["STANDARD3-X2C-8G", "x86_64", 2, 8, 0.0809],
	["STANDARD3-X4C-16G", "x86_64", 4, 16, 0.1617],
];

// VC1, START1 and X64 are still listed but can't join a private network (Scaleway's docs, VPC limitations); C2 left
// the API in December 2020. A successor has at least the memory, and cores of its own where the old one had them.
const retired: RetiredRow[] = [
	["VC1S", "x86_64", 2, 2, 0.00862, "DEV1-S"],
	["VC1M", "x86_64", 4, 4, 0.01555, "DEV1-M"],
	["VC1L", "x86_64", 6, 8, 0.02468, "DEV1-L"],
	["START1-XS", "x86_64", 1, 1, 0.0062, "DEV1-S"],
	["START1-S", "x86_64", 2, 2, 0.0106, "DEV1-S"],
	["START1-M", "x86_64", 4, 4, 0.0194, "DEV1-M"],
	["START1-L", "x86_64", 8, 8, 0.0368, "DEV1-L"],
	["X64-15GB", "x86_64", 6, 15, 0.06032, "PRO2-XS"],
	["X64-30GB", "x86_64", 8, 30, 0.11906, "PRO2-S"],
	["X64-60GB", "x86_64", 10, 60, 0.213, "PRO2-M"],
	["C2S", "x86_64", 4, 8, null, "POP2-HC-4C-8G"],
	["C2M", "x86_64", 8, 16, null, "POP2-HC-8C-16G"],
	["C2L", "x86_64", 8, 32, null, "POP2-8C-32G"],
];

const catalogue = new Map<string, MachineType>([
	...onSale.map(([name, arch, vcpu, ramGb, hourlyEuro]): [string, MachineType] => [
		name,
		{ name, arch, vcpu, ramGb, hourlyEuro },
	]),
	...retired.map(([name, arch, vcpu, ramGb, hourlyEuro, successor]): [string, MachineType] => [
		name,
		{ name, arch, vcpu, ramGb, hourlyEuro, successor },
	]),
]);

/** Every name that an inventory may use, retired ones included. */
export const machineTypeNames: readonly string[] = [...catalogue.keys()];

/** The type with exactly this name, or undefined. */
export function findMachineType(name: string): MachineType | undefined {
	return catalogue.get(name);
}

/**
 * The type to ask Scaleway for.
 *
 * @throws if the name is not in the catalogue.
 */
export function currentMachineType(name: string): MachineType {
	const type = catalogue.get(name);
	if (!type) throw new Error(unknownMachineType(name));
	return type.successor === undefined ? type : currentMachineType(type.successor);
}

/** For a retired type one line for the preview, otherwise undefined. */
export function successionNotice(machine: string, name: string): string | undefined {
	const asked = findMachineType(name);
	if (asked?.successor === undefined) return undefined;
	const used = currentMachineType(name);
	return (
		`${machine}: ${asked.name} (${size(asked)}) is retired, ${used.name} (${size(used)}, ` +
		`${monthlyEuro(used)} a month) is used in its place`
	);
}

/** What is wrong with a name that is not in the catalogue, and which ones are near it. */
export function unknownMachineType(name: string): string {
	return `a machine type of Scaleway; near it: ${nearMachineTypes(name).join(", ")}`;
}

function nearMachineTypes(name: string): string[] {
	const asked = name.toUpperCase();
	return [...machineTypeNames]
		.map((known): [string, number] => [known, editDistance(asked, known)])
		.sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
		.slice(0, 3)
		.map(([known]) => known);
}

function editDistance(a: string, b: string): number {
	let row = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++) {
			const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
			next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
		}
		row = next;
	}
	return row[b.length] ?? 0;
}

function size(type: MachineType): string {
	return `${type.vcpu} vCPU, ${type.ramGb} GB`;
}

/** Scaleway bills 730 hours a month. */
function monthlyEuro(type: MachineType): string {
	return type.hourlyEuro === null ? "price unknown" : `€${(type.hourlyEuro * 730).toFixed(2)}`;
}
