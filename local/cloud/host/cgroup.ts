import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { poll } from "../../../process/poll.ts";
import { entries } from "./state.ts";

/**
 * Everything that runs for the data centre is in a cgroup below one of its own: what is still there after a crash is
 * found by that name, and is known to be ours whatever became of its parents and pids.
 */
export class Cgroup {
	readonly path: string;
	/** Path from the root of the hierarchy, without a leading slash. */
	readonly name: string;

	constructor(...names: [string, ...string[]]) {
		this.name = path.join(...names);
		this.path = path.join(unifiedRoot(), ...names);
	}

	/** Makes it, with the controllers that there are for what is below its parent: limits work in a guest then. */
	create(): void {
		mkdirSync(this.path, { recursive: true });
		for (const controller of ["cpu", "io", "memory", "pids"]) {
			try {
				writeFileSync(path.join(path.dirname(this.path), "cgroup.subtree_control"), `+${controller}`);
			} catch {} // a hybrid host has it in a v1 hierarchy
		}
	}

	/** Whether any process is in it, or below it. */
	get populated(): boolean {
		try {
			return readFileSync(path.join(this.path, "cgroup.events"), "utf8").includes("populated 1");
		} catch {
			return false;
		}
	}

	/** The processes right in it, not those below. */
	processes(...below: string[]): number[] {
		try {
			const lines = readFileSync(path.join(this.path, ...below, "cgroup.procs"), "utf8");
			return lines.split("\n").filter(Boolean).map(Number);
		} catch {
			return [];
		}
	}

	children(): string[] {
		return entries(this.path).filter((name) => existsSync(path.join(this.path, name, "cgroup.procs")));
	}

	/** Stops every process in it where it is; answers whether all stand still. Only a kill ends that. */
	freeze(): boolean {
		if (!this.populated) return true;
		writeFileSync(path.join(this.path, "cgroup.freeze"), "1");
		return readFileSync(path.join(this.path, "cgroup.events"), "utf8").includes("frozen 1");
	}

	/** Kills every process in it; answers whether none is left. */
	kill(): boolean {
		if (this.populated) killBelow(this.path);
		return !this.populated;
	}

	/** Ends every process in it by force and removes it. */
	async destroy(): Promise<void> {
		// In one loop: a process that was just being started may join until the cgroup is gone, and fails from then on.
		const gone = () => {
			if (!existsSync(this.path)) return true;
			if (!this.populated) return removeBelow(this.path);
			killBelow(this.path);
			return false;
		};
		await poll(`the end of the processes in ${this.path}`, 30, () => gone() || undefined, 0.05);
	}
}

/** The cgroup v2 hierarchy: all of /sys/fs/cgroup on a unified host, a part of it on a hybrid one. */
function unifiedRoot(): string {
	for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
		const [, point, type] = line.split(" ");
		if (type === "cgroup2" && point) return point;
	}
	throw new Error("no cgroup2 hierarchy is mounted on this host: mount one at /sys/fs/cgroup/unified");
}

function killBelow(directory: string): void {
	try {
		writeFileSync(path.join(directory, "cgroup.kill"), "1");
	} catch {
		// Linux before 5.14 has no cgroup.kill.
		for (const name of entries(directory)) {
			if (existsSync(path.join(directory, name, "cgroup.procs"))) killBelow(path.join(directory, name));
		}
		for (const pid of readFileSync(path.join(directory, "cgroup.procs"), "utf8").split("\n").filter(Boolean)) {
			try {
				process.kill(Number(pid), "SIGKILL");
			} catch {} // it ended by itself
		}
	}
}

function removeBelow(directory: string): boolean {
	for (const name of entries(directory)) {
		if (existsSync(path.join(directory, name, "cgroup.procs")) && !removeBelow(path.join(directory, name)))
			return false;
	}
	try {
		rmdirSync(directory);
	} catch (error) {
		// Busy until the kernel has reaped the last process.
		return (error as NodeJS.ErrnoException).code === "ENOENT";
	}
	return true;
}
