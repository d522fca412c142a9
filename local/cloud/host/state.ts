import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

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

/** Writes a file so that a reader, or the next start after a kill, sees the old content or the new one. */
export function writeAtomically(file: string, content: string, mode = 0o600): void {
	mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
	const temporary = `${file}.new`;
	writeFileSync(temporary, content, { mode });
	renameSync(temporary, file);
}

export function writeJson(file: string, value: unknown): void {
	writeAtomically(file, `${JSON.stringify(value, undefined, "\t")}\n`);
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
