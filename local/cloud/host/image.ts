import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { withLock } from "../../../process/lock.ts";
import { run } from "../../../process/run.ts";
import { type HostFacts, readHostFacts } from "./host-facts.ts";
import { unmountBelow } from "./mount.ts";
import { entries } from "./state.ts";

/** Marketplace labels of the images that can be made, and the Debian release each holds. */
const releases: Record<string, string> = { debian_trixie: "trixie" };

/** What Scaleway's image has and a first boot may count on; everything else is for cloud-init to install. */
const packages = [
	"ca-certificates",
	"cloud-init",
	"curl",
	"dbus",
	"e2fsprogs",
	"iproute2",
	"iputils-ping",
	"isc-dhcp-client", // cloud-init's DHCP on the way to the metadata service
	"kmod",
	"libpam-systemd",
	"netbase",
	"openssh-server",
	"procps",
	"python3",
	"sudo",
	"systemd",
	"systemd-resolved",
	"systemd-sysv",
	"udev",
];

// Scaleway's guests run DHCP on every NIC of a private network that is plugged in (by a udev rule of its package). The
// public NIC has a file that cloud-init writes from the metadata and that sorts before this one.
const nicNetwork = `[Match]
Name=ens*

[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
`;

/** Part of every image's key: a change of the recipe below is a new image. */
const recipe = 1;

/** Directory of the image with that label; built if it is not there. Takes half a minute the first time. */
export async function ensureImage(
	imageDirectory: string,
	label: string,
	report: (message: string) => void,
): Promise<string> {
	const release = releases[label];
	if (!release) {
		throw new Error(
			`image label ${JSON.stringify(label)}: not known, expected one of ${Object.keys(releases).join(", ")}`,
		);
	}
	const facts = await readHostFacts();
	const key = createHash("sha256")
		.update(JSON.stringify([recipe, release, packages, nicNetwork, facts]))
		.digest("hex")
		.slice(0, 16);
	const directory = path.join(imageDirectory, `${label}-${key}`);
	if (existsSync(directory)) return directory;
	mkdirSync(imageDirectory, { recursive: true, mode: 0o755 });
	const waiting = () => report("another process is building an image; waiting for it");
	return withLock(path.join(imageDirectory, ".lock"), 3600, waiting, async () => {
		if (existsSync(directory)) return directory;
		for (const name of entries(imageDirectory).filter((name) => name.endsWith(".building"))) {
			await unmountBelow(path.join(imageDirectory, name));
			rmSync(path.join(imageDirectory, name), { recursive: true, force: true });
		}
		report(`building the image ${label} from ${facts.mirror} (half a minute, 0.4 GB in ${imageDirectory})`);
		const started = Date.now();
		const building = `${directory}.building`;
		await build(building, release, facts);
		renameSync(building, directory);
		report(`built the image ${label} in ${Math.round((Date.now() - started) / 1000)} s`);
		return directory;
	});
}

async function build(directory: string, release: string, facts: HostFacts): Promise<void> {
	const sources = [
		`deb ${facts.mirror} ${release} main`,
		`deb ${facts.mirror} ${release}-updates main`,
		`deb ${facts.securityMirror} ${release}-security main`,
	];
	await run(
		[
			...["mmdebstrap", "--variant=minbase", "--format=directory", "--mode=root"],
			`--include=${packages.join(",")}`,
			...facts.aptOptions.map((option) => `--aptopt=${option}`),
			...[release, directory, ...sources],
		],
		{ timeoutSeconds: 1200, env: { ...process.env, LC_ALL: "C" } },
	).catch((error: Error) => {
		throw new Error(`building the image ${release} failed (mirror ${facts.mirror}): ${error.message}`);
	});

	const write = (file: string, content: string) => {
		mkdirSync(path.dirname(path.join(directory, file)), { recursive: true });
		writeFileSync(path.join(directory, file), content, { mode: 0o644 });
	};
	write("etc/systemd/network/60-nic.network", nicNetwork);
	write("etc/pip.conf", facts.pipConfiguration);
	if (facts.aptOptions.length > 0) write("etc/apt/apt.conf.d/90proxy", `${facts.aptOptions.join("\n")}\n`);
	for (const [name, certificate] of Object.entries(facts.certificates)) {
		write(`usr/local/share/ca-certificates/${name}`, certificate);
	}
	const inside = (...argv: string[]) =>
		run(["chroot", directory, ...argv], { env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C" } });
	await inside("update-ca-certificates");
	await inside("systemctl", "enable", "systemd-networkd.service", "systemd-resolved.service", "ssh.service");
	// They would download package lists on every machine at once, minutes after its boot.
	await inside("systemctl", "mask", "apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer", "e2scrub_all.timer");
	rmSync(path.join(directory, "etc/resolv.conf"), { force: true });
	await inside("ln", "-s", "../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf");
	// Each machine makes its own.
	for (const name of entries(path.join(directory, "etc/ssh")).filter((name) => name.startsWith("ssh_host_"))) {
		rmSync(path.join(directory, "etc/ssh", name));
	}
	write("etc/machine-id", "");
	rmSync(path.join(directory, "etc/hostname"), { force: true });
}
