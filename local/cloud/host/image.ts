import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { cachedDirectory, recipeKey } from "../../cached-directory.ts";
import { type HostFacts, readHostFacts } from "../../debian/host-facts.ts";
import { makeDebianRoot, runInRoot, trustAuthorities } from "../../debian/root.ts";
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
	const key = recipeKey([recipe, release, packages, nicNetwork, facts]);
	return cachedDirectory(
		path.join(imageDirectory, `${label}-${key}`),
		async (building) => {
			report(`building the image ${label} from ${facts.mirror} (half a minute, 0.4 GB in ${imageDirectory})`);
			const started = Date.now();
			await build(building, release, facts);
			report(`built the image ${label} in ${Math.round((Date.now() - started) / 1000)} s`);
		},
		() => report("another process is building an image; waiting for it"),
	);
}

async function build(directory: string, release: string, facts: HostFacts): Promise<void> {
	await makeDebianRoot({ directory, suite: release, packages, variant: "minbase", updates: true }, facts).catch(
		(error: Error) => {
			throw new Error(`building the image ${release} failed (mirror ${facts.mirror}): ${error.message}`);
		},
	);

	const write = (file: string, content: string) => {
		mkdirSync(path.dirname(path.join(directory, file)), { recursive: true });
		writeFileSync(path.join(directory, file), content, { mode: 0o644 });
	};
	write("etc/systemd/network/60-nic.network", nicNetwork);
	write("etc/pip.conf", facts.pipConfiguration);
	if (facts.aptOptions.length > 0) write("etc/apt/apt.conf.d/90proxy", `${facts.aptOptions.join("\n")}\n`);
	await trustAuthorities(directory, facts);
	const inside = (...argv: string[]) => runInRoot(directory, argv);
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
