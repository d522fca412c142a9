import { readFileSync } from "node:fs";
import { z } from "zod";

const gigabyte = 1_000_000_000;
const gibibyte = 1024 ** 3;
const megabit = 1_000_000;

const row = z.strictObject({
	name: z.string(),
	architecture: z.enum(["x86_64", "arm64"]),
	vcpus: z.number(),
	ramGib: z.number(),
	/** Most local storage that a server may have; 0: block storage only. */
	localGb: z.number(),
	hourlyEuro: z.number(),
	monthlyEuro: z.number(),
	publicMbps: z.number(),
	endOfService: z.boolean(),
});

/** Scaleway's types in fr-par-1 as of June 2026, those that an operator may think of for Flathub. */
export const serverTypes = z
	.array(row)
	.parse(JSON.parse(readFileSync(new URL("./server-types.json", import.meta.url), "utf8")));

export type ServerType = z.infer<typeof row>;

export function findServerType(name: string): ServerType | undefined {
	return serverTypes.find((type) => type.name === name);
}

/** A type as the instance API lists it. */
export function presentServerType(type: ServerType): Record<string, unknown> {
	const bandwidth = type.publicMbps * megabit;
	const perVolume = type.localGb > 0 ? { min_size: gigabyte, max_size: 800 * gigabyte } : { min_size: 0, max_size: 0 };
	return {
		alt_names: [],
		arch: type.architecture,
		ncpus: type.vcpus,
		ram: type.ramGib * gibibyte,
		gpu: 0,
		gpu_info: null,
		mig_profile: null,
		volumes_constraint: { min_size: 0, max_size: type.localGb * gigabyte },
		per_volume_constraint: { l_ssd: perVolume },
		scratch_storage_max_size: 0,
		scratch_storage_max_volumes_count: 0,
		monthly_price: type.monthlyEuro,
		hourly_price: type.hourlyEuro,
		capabilities: {
			boot_types: ["local", "rescue"],
			placement_groups: true,
			block_storage: true,
			hot_snapshots_local_volume: type.localGb > 0,
			private_network: 8,
			max_file_systems: 0,
		},
		network: {
			ipv6_support: true,
			sum_internal_bandwidth: bandwidth,
			sum_internet_bandwidth: bandwidth,
			interfaces: [{ internal_bandwidth: bandwidth, internet_bandwidth: bandwidth }],
		},
		block_bandwidth: 104_857_600,
		end_of_service: type.endOfService,
	};
}
