import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Writes a file so that a reader, or the next start after a kill, sees the old content or the new one; by default for root only. */
export function writeWhole(file: string, content: string, mode = 0o600): void {
	mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
	const temporary = `${file}.new`;
	writeFileSync(temporary, content, { mode });
	renameSync(temporary, file);
}
