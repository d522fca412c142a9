import { existsSync, mkdirSync, statfsSync } from "node:fs";
import path from "node:path";
import { run } from "../../../process/run.ts";
import { isOurs, namespaceExists } from "./network.ts";
import type { AddressPlan } from "./plan.ts";
import type { Place } from "./state.ts";

/** Tools the host needs, and the Debian package of each. */
const tools: Record<string, string> = {
	dnsmasq: "dnsmasq-base",
	flock: "util-linux",
	ip: "iproute2",
	losetup: "mount",
	mmdebstrap: "mmdebstrap",
	nft: "nftables",
	nsenter: "util-linux",
	sysctl: "procps",
	"systemd-nspawn": "systemd-container",
	unshare: "util-linux",
};

/** Free space that is asked for before anything is made: five machines with their packages, builds and volumes. */
export const neededGb = { state: 12, image: 1 };

/** @throws with everything that keeps the data centre from being brought up, a line each */
export async function checkRequirements(
	place: Place,
	plan: AddressPlan,
	needed: { state: number; image: number } = neededGb,
): Promise<void> {
	if (process.platform !== "linux") {
		throw new Error(`the local cloud needs Linux (system containers, network namespaces), this is ${process.platform}`);
	}
	if (process.getuid?.() !== 0)
		throw new Error("the local cloud needs root (namespaces, mounts, firewall): run it with sudo");
	const problems = [...missingTools(), ...missingSpace(place, needed)];
	if (problems.length === 0 && !isOurs(place)) problems.push(...(await takenNames(place, plan)));
	if (problems.length > 0)
		throw new Error(`the local cloud can't start:\n${problems.map((line) => `- ${line}`).join("\n")}`);
}

function missingTools(): string[] {
	const folders = (process.env.PATH ?? "").split(":");
	const missing = Object.keys(tools).filter((tool) => !folders.some((folder) => existsSync(path.join(folder, tool))));
	if (missing.length === 0) return [];
	const packages = [...new Set(missing.map((tool) => tools[tool]))];
	return [`missing: ${missing.join(", ")}; install with: apt-get install ${packages.join(" ")}`];
}

function missingSpace(place: Place, needed: { state: number; image: number }): string[] {
	const wanted = [
		{ directory: place.directory, gb: needed.state },
		{ directory: place.imageDirectory, gb: needed.image },
	];
	return wanted.flatMap(({ directory, gb }) => {
		mkdirSync(directory, { recursive: true, mode: 0o700 });
		const { bavail, bsize } = statfsSync(directory);
		const free = (bavail * bsize) / 1e9;
		return free < gb ? [`${directory}: ${free.toFixed(1)} GB free, ${gb} GB needed`] : [];
	});
}

async function takenNames(place: Place, plan: AddressPlan): Promise<string[]> {
	const problems: string[] = [];
	const undo = "take it away with `scripts/down local`, or by hand if something else made it";
	if (namespaceExists(place.prefix)) problems.push(`network namespace ${place.prefix} is there already; ${undo}`);
	const addresses = await run(["ip", "-json", "address", "show"]);
	const links = JSON.parse(addresses.stdout) as {
		ifname: string;
		addr_info?: { local: string }[];
	}[];
	for (const link of links) {
		if (link.ifname === place.prefix) problems.push(`network interface ${place.prefix} is there already; ${undo}`);
		for (const { local } of link.addr_info ?? []) {
			if (local === plan.uplinkOuter || local === plan.uplinkInner) {
				problems.push(`address ${local} is taken by the interface ${link.ifname}; ${undo}`);
			}
		}
	}
	const table = await run(["ip", "-json", "route", "show"]);
	const routes = JSON.parse(table.stdout) as { dst: string; dev: string }[];
	for (const route of routes.filter(({ dst }) => dst === plan.publicSubnet || dst === plan.uplinkSubnet)) {
		problems.push(`route ${route.dst} is taken by the interface ${route.dev}; ${undo}`);
	}
	const tables = await run(["nft", "list", "tables"]);
	if (tables.stdout.split("\n").includes(`table inet ${place.prefix}`)) {
		problems.push(`nft table inet ${place.prefix} is there already; ${undo}`);
	}
	return problems;
}
