import { readFileSync } from "node:fs";
import { poll } from "../../../process/poll.ts";
import { run } from "../../../process/run.ts";
import { Cgroup } from "./cgroup.ts";
import { findLeader } from "./machine.ts";
import type { Place } from "./state.ts";

// ext4's and XFS's ioctl for this, with which their own power-cut tests work: from now on nothing is written, the journal
// neither. Python, since Node has no ioctl. Arguments: mount points.
const forget = `import fcntl, os, struct, sys
FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING_THE_LOG = 2
for path in sys.argv[1:]:
    fcntl.ioctl(os.open(path, os.O_RDONLY), FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
`;

/**
 * Ends a running machine as a power cut does: every process at once, and what was not yet written to the data volumes is
 * lost. (What was written to the root disk is in the host's memory and stays.) Does nothing if it does not run.
 *
 * Of a server of the local cloud the daemon then says that it is stopped.
 */
export async function cutPower(place: Place, id: string): Promise<void> {
	const group = new Cgroup(place.prefix, `server-${id}`);
	// Nobody in it may see that its disk is gone.
	await poll(`machine ${id} to stand still`, 30, () => group.freeze() || undefined, 0.02);
	const leader = findLeader(place, id);
	const volumes = leader ? volumeMounts(leader.pid) : [];
	if (volumes.length > 0) await run(["python3", "-c", forget, ...volumes]);
	await poll(`the end of machine ${id}`, 30, () => group.kill() || undefined, 0.02);
}

/** Where a machine has mounted its data volumes, as paths of the host; each file system once. */
function volumeMounts(leader: number): string[] {
	const mounts = new Map<string, string>();
	for (const line of readFileSync(`/proc/${leader}/mountinfo`, "utf8").split("\n")) {
		const [, , , , point = "", ...rest] = line.split(" ");
		const source = rest[rest.indexOf("-") + 2] ?? "";
		if (source.startsWith("/dev/loop")) mounts.set(source, `/proc/${leader}/root${point}`);
	}
	return [...mounts.values()];
}
