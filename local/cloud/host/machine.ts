import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type ProcessIdentity, startTime, stillRuns } from "../../../process/identity.ts";
import { poll } from "../../../process/poll.ts";
import { run } from "../../../process/run.ts";
import { mountPoints, unmountBelow } from "../../mount.ts";
import type { ServerSpec } from "../hypervisor.ts";
import { Cgroup } from "./cgroup.ts";
import { startDaemon } from "./daemon.ts";
import { entries, type Place, readJson, serverDirectory, writeJson } from "./state.ts";
import { attachVolume, detachVolume } from "./volume.ts";

// A machine: a root disk over the image, and a container with an init of its own.

/** What is kept of a server beside its root disk. */
export interface ServerRecord {
	id: string;
	name: string;
	/** Directory of the image under the root disk; stays the same for the life of the server. */
	image: string;
	/** As it was last powered on. */
	spec?: ServerSpec;
}

/** A machine's init, as the host sees it. */
export type Leader = ProcessIdentity;

const recordFile = (place: Place, id: string) => path.join(serverDirectory(place, id), "server.json");
const rootDirectory = (place: Place, id: string) => path.join(serverDirectory(place, id), "root");
const leaderFile = (place: Place, id: string) => path.join(serverDirectory(place, id), "leader.json");
export const consoleLog = (place: Place, id: string) => path.join(serverDirectory(place, id), "console.log");
const cgroup = (place: Place, id: string) => new Cgroup(place.prefix, `server-${id}`);
/** systemd-nspawn's name for the machine; the guest's host name is another matter. */
const containerName = (place: Place, id: string) => `${place.prefix}-${id}`.slice(0, 63);

export function serverIds(place: Place): string[] {
	return entries(path.join(place.directory, "servers")).filter((id) => existsSync(recordFile(place, id)));
}

export function serverRecord(place: Place, id: string): ServerRecord | undefined {
	return readJson<ServerRecord>(recordFile(place, id));
}

/** Makes a server's root disk: a layer over the image that takes what the machine writes. */
export function prepareMachine(place: Place, record: ServerRecord): void {
	if (serverRecord(place, record.id)) return;
	for (const name of ["upper", "work", "root"]) {
		mkdirSync(path.join(serverDirectory(place, record.id), name), { recursive: true, mode: 0o755 });
	}
	writeJson(recordFile(place, record.id), record);
}

export function isRunning(place: Place, id: string): boolean {
	return cgroup(place, id).populated;
}

// The guest's first process. /sys becomes read-only, as in any container: with a writable one the guest's udev would
// act on the host's devices, and its networkd and mount units would wait for it. (SYSTEMD_NSPAWN_API_VFS_WRITABLE is
// for /proc, of which bubblewrap needs to mount another.) Then the by-id names of the volumes, and the public NIC,
// which is put in from outside and has to be there before cloud-init looks for it. Arguments: DEVICE NAME pairs, "--",
// the words for init.
const firstProcess = `set -eu
mount -o remount,bind,ro /sys
mkdir -p /dev/disk/by-id
while [ "$1" != -- ]; do
	ln -s "../../$1" "/dev/disk/by-id/$2"
	shift 2
done
shift
tries=0
while [ "\${1-}" = scaleway ] && ! [ -e /sys/class/net/ens2 ]; do
	tries=$((tries + 1))
	if [ "$tries" -gt 600 ]; then
		echo "no public NIC within 30 s" >&2
		exit 1
	fi
	sleep 0.05
done
exec /usr/lib/systemd/systemd "$@"`;

// nspawn ends with status 133 if the guest reboots, for whoever started it to start it again. This loop and nspawn are
// in cgroups of their own: one that has controllers for those below may not hold processes.
const launcher = `set -eu
cgroup=/sys/fs/cgroup/$1
shift
mkdir -p "$cgroup/launcher" "$cgroup/machine"
echo $$ >"$cgroup/launcher/cgroup.procs"
for controller in cpu io memory pids; do
	echo "+$controller" 2>/dev/null >"$cgroup/cgroup.subtree_control" || true
done
while :; do
	status=0
	sh -c 'echo $$ >"$0/machine/cgroup.procs"; exec "$@"' "$cgroup" "$@" || status=$?
	[ "$status" -eq 133 ] || exit "$status"
done`;

/** What a machine is started with, beside its root disk. */
export interface MachineSpec {
	id: string;
	/** Host name. */
	name: string;
	/** Data volumes, to appear under the names that Scaleway's have. */
	volumeIds: readonly string[];
	/** A network namespace under /run/netns to live in, with its NIC; default: one of its own, without a NIC. */
	networkNamespace?: string;
	/** Words for init; with `scaleway` among the first it waits until the NIC `ens2` is there. */
	initArguments: readonly string[];
	/** Puts into the mounted root disk what a machine finds there at each start. */
	furnish(root: string): void;
}

/**
 * Starts a prepared server; returns once its init runs. `beforeInit` is called once the machine's namespaces exist; for a
 * server with a public NIC init waits until `ens2` is there.
 */
export async function startServer(
	place: Place,
	spec: ServerSpec,
	beforeInit: (leader: Leader) => Promise<void>,
): Promise<void> {
	const { id, name, volumeIds } = spec;
	const record = serverRecord(place, id);
	await clearMachine(place, id); // by the record of how it was started before
	if (record) writeJson(recordFile(place, id), { ...record, name, spec });
	const initArguments = spec.publicNic ? ["scaleway"] : [];
	const furnish = (root: string) => writeSeed(root, spec);
	await startMachine(place, { id, name, volumeIds, initArguments, furnish }, beforeInit);
}

/** Starts a prepared machine; returns once its init runs. `beforeInit` is called once the machine's namespaces exist. */
export async function startMachine(
	place: Place,
	spec: MachineSpec,
	beforeInit: (leader: Leader) => Promise<void> = async () => {},
): Promise<void> {
	const what = `server ${spec.id} (${spec.name})`;
	const record = serverRecord(place, spec.id);
	if (!record) throw new Error(`${what}: has no root disk; prepare it first`);
	if (!existsSync(record.image)) {
		throw new Error(`${what}: its image ${record.image} is gone; delete the server and make it again`);
	}
	await clearMachine(place, spec.id);
	const directory = serverDirectory(place, spec.id);
	const root = rootDirectory(place, spec.id);
	const layers = `lowerdir=${record.image},upperdir=${directory}/upper,workdir=${directory}/work`;
	await run(["mount", "-t", "overlay", "-o", layers, "overlay", root]);
	spec.furnish(root);

	const devices = await Promise.all(spec.volumeIds.map((id) => attachVolume(place, id)));
	const links = spec.volumeIds.flatMap((id, index) => [
		path.basename(devices[index] as string),
		`scsi-0SCW_sbs_volume-${id}`,
	]);
	const argv = [
		...[
			"systemd-nspawn",
			"--quiet",
			`--directory=${root}`,
			`--machine=${containerName(place, spec.id)}`,
			`--hostname=${spec.name}`,
		],
		...(spec.networkNamespace === undefined
			? ["--private-network"]
			: // Only a private one brings the capability along.
				[`--network-namespace-path=/run/netns/${spec.networkNamespace}`, "--capability=CAP_NET_ADMIN"]),
		...["--register=no", "--keep-unit", "--resolv-conf=off", "--link-journal=no", "--timezone=off"],
		...["--console=read-only", "--kill-signal=SIGRTMIN+4"],
		...devices.map((device) => `--bind=${device}`),
		...(existsSync("/dev/fuse") ? ["--bind=/dev/fuse"] : []),
		...["--", "/bin/sh", "-c", firstProcess, "init", ...links, "--", ...spec.initArguments],
	];
	const { name: cgroupName } = cgroup(place, spec.id);
	await startDaemon(cgroup(place, spec.id), ["sh", "-c", launcher, "sh", cgroupName, ...argv], {
		log: consoleLog(place, spec.id),
		env: { SYSTEMD_NSPAWN_API_VFS_WRITABLE: "yes" },
	});
	const orSaid = <T>(answer: T | undefined | false): T => {
		if (answer !== undefined && answer !== false) return answer;
		throw new Error(tail(consoleLog(place, spec.id)));
	};
	try {
		const started = await poll(`${what}: its machine to start`, 60, () => orSaid(findLeader(place, spec.id)), 0.05);
		writeJson(leaderFile(place, spec.id), started);
		await beforeInit(started);
		const initRuns = () => isRunning(place, spec.id) && processName(started.pid) === "systemd";
		await poll(`${what}: its init to start`, 60, () => orSaid(initRuns()), 0.05);
	} catch (error) {
		await clearMachine(place, spec.id);
		throw error;
	}
}

/** cloud-init's data for a server that can't reach the metadata service; others must not find an old one. */
function writeSeed(root: string, spec: ServerSpec): void {
	const seed = path.join(root, "var/lib/cloud/seed/nocloud");
	rmSync(seed, { recursive: true, force: true });
	if (spec.publicNic) return;
	mkdirSync(seed, { recursive: true, mode: 0o700 });
	// JSON is YAML.
	const metadata = { "instance-id": spec.id, "local-hostname": spec.name, "public-keys": spec.sshPublicKeys };
	writeFileSync(path.join(seed, "meta-data"), `${JSON.stringify(metadata)}\n`, { mode: 0o600 });
	writeFileSync(path.join(seed, "user-data"), spec.userData ?? "", { mode: 0o600 });
}

/** The init process of a server's machine, once it is in namespaces of its own. */
export function findLeader(place: Place, id: string): Leader | undefined {
	// nspawn moves itself one down once the machine runs.
	const group = cgroup(place, id);
	for (const supervisor of [...group.processes("machine", "supervisor"), ...group.processes("machine")]) {
		if (processName(supervisor) !== "systemd-nspawn") continue;
		for (const pid of childrenOf(supervisor)) {
			if (!["sh", "systemd"].includes(processName(pid) ?? "")) continue;
			const time = startTime(pid);
			if (time && networkOf(pid) !== networkOf(supervisor)) return { pid, startTime: time };
		}
	}
	return undefined;
}

/** The leader that was recorded at power-on, if that very process still runs. */
export function recordedLeader(place: Place, id: string): Leader | undefined {
	const leader = readJson<Leader>(leaderFile(place, id));
	return leader && stillRuns(leader) ? leader : undefined;
}

export function recordLeader(place: Place, id: string, leader: Leader): void {
	writeJson(leaderFile(place, id), leader);
}

/** Asks init to power off; after `deadlineSeconds` ends the machine by force. Resolves once nothing of it runs. */
export async function stopMachine(place: Place, id: string, deadlineSeconds: number): Promise<void> {
	let asked = 0;
	const off = () => {
		if (!isRunning(place, id)) return true;
		// More than once: an init that has only just started does not listen yet, and the kernel drops the signal.
		if (Date.now() - asked > 2000) {
			const leader = findLeader(place, id);
			// Half-started, or its container manager is gone: nothing in it could lose anything.
			if (!leader || processName(leader.pid) !== "systemd") return true;
			asked = Date.now();
			process.kill(leader.pid, sigrtmin + 4);
		}
		return false;
	};
	try {
		await poll("its power-off", deadlineSeconds, () => off() || undefined, 0.05);
	} catch {} // by force, below
	await clearMachine(place, id);
}

const sigrtmin = 34;

/** Ends what is left of a machine and takes its mounts and devices off the host. The root disk's files stay. */
export async function clearMachine(place: Place, id: string): Promise<void> {
	await cgroup(place, id).destroy();
	rmSync(leaderFile(place, id), { force: true });
	await unmountBelow(rootDirectory(place, id));
	const runtime = "/run/systemd/nspawn";
	for (const kind of ["propagate", "unix-export"]) {
		const directory = path.join(runtime, kind, containerName(place, id));
		if (!existsSync(directory)) continue;
		await unmountBelow(directory);
		rmSync(directory, { recursive: true, force: true });
	}
	for (const volumeId of serverRecord(place, id)?.spec?.volumeIds ?? []) await detachVolume(place, volumeId);
}

/** Removes a machine that does not run, its root disk too. */
export async function deleteMachine(place: Place, id: string): Promise<void> {
	await clearMachine(place, id);
	if (mountPoints().includes(rootDirectory(place, id))) {
		throw new Error(
			`server ${id}: ${rootDirectory(place, id)} is still mounted; unmount it and delete the server again`,
		);
	}
	// The record goes first: without it, what is left of a killed removal is no server any more.
	rmSync(recordFile(place, id), { force: true });
	rmSync(serverDirectory(place, id), { recursive: true, force: true });
}

function processName(pid: number): string | undefined {
	try {
		return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
	} catch {
		return undefined;
	}
}

function childrenOf(pid: number): number[] {
	try {
		return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
	} catch {
		return [];
	}
}

function networkOf(pid: number): string | undefined {
	try {
		return readlinkSync(`/proc/${pid}/ns/net`);
	} catch {
		return undefined;
	}
}

function tail(file: string): string {
	try {
		return readFileSync(file, "utf8").trim().slice(-1000);
	} catch {
		return "";
	}
}
