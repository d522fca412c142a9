import { readFileSync } from "node:fs";
import { attempt } from "../process/run.ts";

/** Mount points of this mount namespace, the latest last. */
export function mountPoints(): string[] {
	return readFileSync("/proc/self/mountinfo", "utf8")
		.split("\n")
		.filter(Boolean)
		.map((line) =>
			(line.split(" ")[4] ?? "").replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8))),
		);
}

/** Takes away every mount at or below a directory, the deepest first. */
export async function unmountBelow(directory: string): Promise<void> {
	const below = mountPoints().filter((point) => point === directory || point.startsWith(`${directory}/`));
	for (const point of below.reverse()) {
		// Lazily if something still looks at it: a shell of the operator's in there must not keep `down` from ending.
		if ((await attempt(["umount", point])) === undefined) await attempt(["umount", "-l", point]);
	}
}
