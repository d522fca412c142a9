import { stringify } from "yaml";
import { builder } from "./builder.ts";
import { type BootFile, fileFrom } from "./files.ts";
import { front } from "./front.ts";
import { master } from "./master.ts";
import { repo } from "./repo.ts";

/** What every machine's first boot is told. It names no other machine but front's address on the private network. */
interface AnyFirstBoot {
	/** The host name. */
	name: string;
	/** The private network's subnet in CIDR notation. */
	privateNetwork: string;
	/** The public key that root accepts until operators' keys are delivered, one line. */
	deployKey: string;
	/** Private half of the throw-away ECDSA host key for the first connection, OpenSSH's format. */
	bootstrapHostKey: string;
}

interface PrivateFirstBoot extends AnyFirstBoot {
	/** Front's address on the private network: the way out. */
	gateway: string;
}

interface VolumeFirstBoot {
	/** UUID of the data volume, without its zone. */
	volumeId: string;
}

export type MasterFirstBoot = PrivateFirstBoot & VolumeFirstBoot & { role: "master" };
export type RepoFirstBoot = PrivateFirstBoot & VolumeFirstBoot & { role: "repo" };
export type BuilderFirstBoot = PrivateFirstBoot & { role: "builder" };
export type FrontFirstBoot = AnyFirstBoot & VolumeFirstBoot & { role: "front" };
export type FirstBoot = MasterFirstBoot | RepoFirstBoot | BuilderFirstBoot | FrontFirstBoot;

/** What a role adds to a machine's first boot. */
export interface RoleFirstBoot {
	/** Debian packages, installed without what they recommend. */
	packages: readonly string[];
	/** System users; each gets a group and a home /var/lib/NAME of its own. */
	users: readonly string[];
	files: readonly BootFile[];
}

function roleFirstBoot(role: FirstBoot["role"]): RoleFirstBoot {
	switch (role) {
		case "master":
			return master;
		case "builder":
			return builder;
		case "repo":
			return repo;
		case "front":
			return front;
		default:
			return role satisfies never;
	}
}

/** Where Scaleway's udev rules put a block volume. */
function volumeDevice(volumeId: string): string {
	return `/dev/disk/by-id/scsi-0SCW_sbs_volume-${volumeId}`;
}

/**
 * A machine's first boot as cloud-init's user-data. The same parameters give the same bytes: a changed byte replaces a
 * builder or front.
 */
export function renderUserData(boot: FirstBoot): string {
	const role = roleFirstBoot(boot.role);
	const cloudConfig = {
		hostname: boot.name,
		// Root is the deployment's user; operators' keys arrive with the first delivery.
		disable_root: false,
		ssh_authorized_keys: [boot.deployKey],
		ssh: { emit_keys_to_console: false },
		users: role.users.map((user) => ({
			name: user,
			system: true,
			homedir: `/var/lib/${user}`,
			shell: "/usr/sbin/nologin",
		})),
		write_files: [...everyMachine(boot, role), ...role.files].map((file) => ({
			path: file.path,
			owner: "root:root",
			permissions: file.mode,
			content: file.content,
		})),
		// One command, so that its failure is cloud-init's: of several, only the last one's exit status counts.
		runcmd: [["/usr/local/lib/flathub/first-boot"]],
	};
	return `#cloud-config\n${stringify(cloudConfig, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false })}`;
}

function everyMachine(boot: FirstBoot, role: RoleFirstBoot): BootFile[] {
	const parameters = {
		role: boot.role,
		privateNetwork: boot.privateNetwork,
		gateway: boot.role === "front" ? null : boot.gateway,
		packages: role.packages,
		users: role.users,
		volume: boot.role === "builder" ? null : { device: volumeDevice(boot.volumeId), mountPoint: "/srv" },
	};
	const forbidForwarding = 'restrict,command="/usr/local/lib/flathub/install-host-key"';
	return [
		{
			path: "/etc/flathub/first-boot.json",
			mode: "0644",
			content: `${JSON.stringify(parameters, null, 2)}\n`,
		},
		{
			path: "/etc/flathub/private-network.nft",
			mode: "0644",
			content: `define private_network = ${boot.privateNetwork}\n`,
		},
		{ path: "/etc/ssh/bootstrap/host_key", mode: "0600", content: `${boot.bootstrapHostKey.trimEnd()}\n` },
		{
			path: "/etc/ssh/bootstrap/authorized_keys",
			mode: "0600",
			content: `${forbidForwarding} ${boot.deployKey}\n`,
		},
		fileFrom("machine/first-boot", "/usr/local/lib/flathub/first-boot", "0755"),
		fileFrom("machine/machine_setup.py", "/usr/local/lib/flathub/machine_setup.py", "0755"),
		fileFrom("machine/default-route", "/usr/local/lib/flathub/default-route", "0755"),
		fileFrom("machine/install-host-key", "/usr/local/lib/flathub/install-host-key", "0755"),
		fileFrom("machine/flathub-default-route.service", "/etc/systemd/system/flathub-default-route.service", "0644"),
		fileFrom("machine/ssh-bootstrap.service", "/etc/systemd/system/ssh-bootstrap.service", "0644"),
		fileFrom("machine/ssh.service.conf", "/etc/systemd/system/ssh.service.d/flathub.conf", "0644"),
		fileFrom("machine/sshd_config", "/etc/ssh/sshd_config.d/10-flathub.conf", "0644"),
		fileFrom("machine/bootstrap_sshd_config", "/etc/ssh/bootstrap/sshd_config", "0644"),
		...(boot.role === "front" ? [] : [fileFrom("private/nftables.conf", "/etc/flathub/base-firewall.nft", "0644")]),
		...(boot.role === "builder"
			? []
			: [
					fileFrom("volume/data-volume", "/usr/local/lib/flathub/data-volume", "0755"),
					fileFrom("volume/flathub-data-volume.service", "/etc/systemd/system/flathub-data-volume.service", "0644"),
					fileFrom("volume/srv.mount", "/etc/systemd/system/srv.mount", "0644"),
				]),
	];
}
