import { existsSync, readdirSync, readFileSync } from "node:fs";
import { execa } from "execa";

/** What a local Flathub could leave behind on a host, each as comparable lines. */
export interface Residue {
	namespaces: string[];
	loopDevices: string[];
	mounts: string[];
	nftTables: string[];
	routes: string[];
	links: string[];
	binfmt: string[];
	sysctls: string[];
	processes: string[];
}

const lines = async (command: string, args: string[]): Promise<string[]> => {
	const { stdout } = await execa(command, args);
	return stdout.split("\n").filter((line) => line !== "");
};

/** Takes stock of the host. Processes: those whose command line names the local Flathub. */
export async function takeResidue(): Promise<Residue> {
	return {
		namespaces: (await lines("ip", ["netns", "list"])).map((line) => line.split(" ")[0] ?? line),
		loopDevices: await lines("losetup", ["--noheadings", "--list", "--output", "NAME,BACK-FILE"]),
		mounts: readFileSync("/proc/self/mounts", "utf8")
			.split("\n")
			.map((line) => line.split(" ").slice(0, 3).join(" ")),
		nftTables: await lines("nft", ["list", "tables"]),
		routes: await lines("ip", ["route", "show", "table", "all"]),
		links: (await lines("ip", ["-brief", "link"])).map((line) => line.split(/\s/)[0] ?? line),
		binfmt: existsSync("/proc/sys/fs/binfmt_misc") ? readdirSync("/proc/sys/fs/binfmt_misc") : [],
		sysctls: ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding"].map(
			(name) => `${name}=${readFileSync(`/proc/sys/${name.replaceAll(".", "/")}`, "utf8").trim()}`,
		),
		processes: readdirSync("/proc")
			.filter((pid) => /^\d+$/.test(pid))
			.map((pid) => {
				try {
					return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
				} catch {
					return ""; // ended meanwhile
				}
			})
			.filter((commandLine) => /flathub-local|systemd-nspawn|dnsmasq/.test(commandLine)),
	};
}
