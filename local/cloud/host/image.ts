import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { cachedDirectory, recipeKey } from "../../cached-directory.ts";
import { type HostFacts, readHostFacts } from "../../debian/host-facts.ts";
import { makeDebianRoot, runInRoot, trustAuthorities } from "../../debian/root.ts";
import { entries } from "./state.ts";

/** Any Debian server. */
const server = [
	"ca-certificates",
	"curl",
	"dbus",
	"iproute2",
	"iputils-ping",
	"kmod",
	"libpam-systemd",
	"netbase",
	"openssh-server",
	"procps",
	"python3",
	"sudo",
	"systemd",
	"systemd-sysv",
	"udev",
];

/** Label of the image of a machine outside the data centre. */
export const remoteHostImage = "remote_host";

// Scaleway's guests run DHCP on every NIC of a private network that is plugged in (by a udev rule of its package). The
// public NIC has a file that cloud-init writes from the metadata and that sorts before this one.
const nicNetwork = `[Match]
Name=ens*

[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
`;

interface ImageRecipe {
	/** Name of the Debian release. */
	release: string;
	packages: readonly string[];
	/** Units that run beside what the packages enable themselves. */
	units: readonly string[];
	/** Content by path. */
	files: Readonly<Record<string, string>>;
	/** Links by path. */
	links: Readonly<Record<string, string>>;
}

/** By label. */
const recipes: Record<string, ImageRecipe> = {
	/** What Scaleway's image has and a first boot may count on; everything else is for cloud-init to install. */
	debian_trixie: {
		release: "trixie",
		packages: [
			...server,
			"cloud-init",
			"e2fsprogs",
			"isc-dhcp-client", // cloud-init's DHCP on the way to the metadata service
			"systemd-resolved",
		],
		units: ["systemd-networkd.service", "systemd-resolved.service", "ssh.service"],
		files: { "etc/systemd/network/60-nic.network": nicNetwork },
		links: { "etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf" },
	},
	/** A server that somebody else installed and whose network is configured by hand. No label of the marketplace. */
	[remoteHostImage]: { release: "trixie", packages: server, units: ["ssh.service"], files: {}, links: {} },
};

// apt's would download package lists on every machine at once, minutes after its boot. The rules for foreign programs are
// one table for the host and its containers: a guest's systemd would empty it at its start and at its end.
const masked = [
	...["apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer", "e2scrub_all.timer"],
	...["proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount", "systemd-binfmt.service"],
];

/** Directory of the image with that label; built if it is not there. Takes half a minute the first time. */
export async function ensureImage(
	imageDirectory: string,
	label: string,
	report: (message: string) => void,
): Promise<string> {
	const recipe = recipes[label];
	if (!recipe) {
		throw new Error(
			`image label ${JSON.stringify(label)}: not known, expected one of ${Object.keys(recipes).join(", ")}`,
		);
	}
	const facts = await readHostFacts();
	const key = recipeKey([recipe, masked, facts]);
	return cachedDirectory(
		path.join(imageDirectory, `${label}-${key}`),
		async (building) => {
			report(`building the image ${label} from ${facts.mirror} (half a minute, 0.4 GB in ${imageDirectory})`);
			const started = Date.now();
			await build(building, recipe, facts);
			report(`built the image ${label} in ${Math.round((Date.now() - started) / 1000)} s`);
		},
		() => report("another process is building an image; waiting for it"),
	);
}

async function build(directory: string, recipe: ImageRecipe, facts: HostFacts): Promise<void> {
	const { release, packages, units, files, links } = recipe;
	await makeDebianRoot({ directory, suite: release, packages, variant: "minbase", updates: true }, facts).catch(
		(error: Error) => {
			throw new Error(`building the image ${release} failed (mirror ${facts.mirror}): ${error.message}`);
		},
	);

	const write = (file: string, content: string) => {
		mkdirSync(path.dirname(path.join(directory, file)), { recursive: true });
		writeFileSync(path.join(directory, file), content, { mode: 0o644 });
	};
	for (const [file, content] of Object.entries(files)) write(file, content);
	write("etc/pip.conf", facts.pipConfiguration);
	if (facts.aptOptions.length > 0) write("etc/apt/apt.conf.d/90proxy", `${facts.aptOptions.join("\n")}\n`);
	await trustAuthorities(directory, facts);
	const inside = (...argv: string[]) => runInRoot(directory, argv);
	await inside("systemctl", "enable", ...units);
	await inside("systemctl", "mask", ...masked);
	rmSync(path.join(directory, "etc/resolv.conf"), { force: true });
	for (const [link, target] of Object.entries(links)) symlinkSync(target, path.join(directory, link));
	// Each machine makes its own.
	for (const name of entries(path.join(directory, "etc/ssh")).filter((name) => name.startsWith("ssh_host_"))) {
		rmSync(path.join(directory, "etc/ssh", name));
	}
	write("etc/machine-id", "");
	rmSync(path.join(directory, "etc/hostname"), { force: true });
}
