import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import path from "node:path";
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
export function startDaemon(
	cgroup: Cgroup,
	argv: readonly string[],
	options: { log: string; namespace?: string; env?: NodeJS.ProcessEnv },
): void {
	cgroup.create();
	mkdirSync(path.dirname(options.log), { recursive: true, mode: 0o700 });
	const log = openSync(options.log, "w", 0o600);
	const enter = options.namespace ? ["nsenter", `--net=/run/netns/${options.namespace}`, "--"] : [];
	const full = [...enter, "unshare", "--mount", "--", "sh", "-c", launch, "sh", cgroup.path, ...argv];
	const child = spawn(full[0] as string, full.slice(1), {
		detached: true,
		stdio: ["ignore", log, log],
		cwd: "/",
		env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...options.env },
	});
	child.on("error", () => {}); // whoever waits for the daemon reports that it is not there
	child.unref();
	closeSync(log);
}
