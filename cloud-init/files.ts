import { readFileSync } from "node:fs";

/** A file as it lands on a machine, owned by root. */
export interface BootFile {
	path: string;
	/** Octal, as text: YAML would read a bare one as a number. */
	mode: "0600" | "0644" | "0755";
	content: string;
}

/** A file of cloud-init/files, byte for byte. */
export function fileFrom(source: string, path: string, mode: BootFile["mode"]): BootFile {
	return { path, mode, content: readFileSync(new URL(`files/${source}`, import.meta.url), "utf8") };
}
