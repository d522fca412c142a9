import { startDetached } from "../../../process/detached.ts";
import { inNamespace } from "../../../process/run.ts";
import type { Cgroup } from "./cgroup.ts";

// The first word after `sh` is the cgroup to join. A hybrid host has v1 hierarchies under /sys/fs/cgroup, on which a
// guest's systemd can't run: it gets a mount namespace where the v2 one is in its place.
const launch = `set -eu
echo $$ >"$1/cgroup.procs"
shift
if ! [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	umount -l /sys/fs/cgroup
	mount -t cgroup2 none /sys/fs/cgroup
fi
exec "$@"`;

/**
 * Starts a process of its own session in a cgroup; it outlives this one. `log` gets its output, from the beginning.
 * `namespace` is a network namespace under /run/netns.
 */
export async function startDaemon(
	cgroup: Cgroup,
	argv: readonly string[],
	options: { log: string; namespace?: string; env?: NodeJS.ProcessEnv },
): Promise<void> {
	cgroup.create();
	const joined = ["unshare", "--mount", "--", "sh", "-c", launch, "sh", cgroup.path, ...argv];
	await startDetached(options.namespace ? inNamespace(options.namespace, joined) : joined, {
		log: options.log,
		cwd: "/",
		env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...options.env },
	});
}
