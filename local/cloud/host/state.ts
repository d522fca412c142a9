import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { writeWhole } from "../../whole-file.ts";

/** Where the host's side of the local cloud keeps its files, and the names of what it makes on the host. */
export interface Place {
	/** Name of the network namespace, the uplink, the nft table and the cgroup; at most 15 characters. */
	readonly prefix: string;
	/** `<state>/host`. */
	readonly directory: string;
	readonly imageDirectory: string;
}

export function serverDirectory(place: Place, serverId: string): string {
	return path.join(place.directory, "servers", serverId);
}

export function writeJson(file: string, value: unknown): void {
	writeWhole(file, `${JSON.stringify(value, undefined, "\t")}\n`);
}

/** Undefined if the file is not there. */
export function readJson<T>(file: string): T | undefined {
	try {
		return JSON.parse(readFileSync(file, "utf8")) as T;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
		throw new Error(`${file}: ${(error as Error).message}; run \`down\` and remove the file`);
	}
}

/** Names in a directory; none if it is not there. */
export function entries(directory: string): string[] {
	try {
		return readdirSync(directory).sort();
	} catch (error) {
		if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
		throw error;
	}
}
