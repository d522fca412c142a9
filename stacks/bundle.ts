import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A file of a release, with its path inside it. */
export interface ReleaseFile {
	path: string;
	content: Buffer;
	executable: boolean;
}

/** Where bundles are kept, relative to the project: the engine reads them there while it deploys. */
const deliveriesFolder = ".deliveries";

const blockBytes = 512;

/** What is in a service's folder for the tests and for whoever locks its dependencies, and is of no use on a machine. */
function isLeftOut(name: string): boolean {
	return (
		name.endsWith("_test.py") ||
		name.endsWith(".pyc") ||
		name.startsWith(".") ||
		["__pycache__", "test", "tests", "conftest.py", "requirements.in"].includes(name)
	);
}

/**
 * The files of a folder, at any depth, below a prefix in the release.
 *
 * @throws if the folder is not there.
 */
export function releaseFiles(folder: string, prefix: string): ReleaseFile[] {
	return readdirSync(folder, { withFileTypes: true })
		.filter((entry) => !isLeftOut(entry.name))
		.flatMap((entry) => {
			const path = join(folder, entry.name);
			if (entry.isDirectory()) return releaseFiles(path, `${prefix}/${entry.name}`);
			if (!entry.isFile()) throw new Error(`${path} is neither a file nor a folder, and can't be delivered`);
			return [releaseFile(path, `${prefix}/${entry.name}`)];
		});
}

/** A file of the project at a path of the release. */
export function releaseFile(source: string, path: string): ReleaseFile {
	return { path, content: readFileSync(source), executable: (statSync(source).mode & 0o100) !== 0 };
}

/**
 * A tar whose bytes depend on the files' paths, contents and executable bits only: sorted, owned by root, without
 * times. Folders are not listed; tar makes them.
 */
export function tar(files: readonly ReleaseFile[]): Buffer {
	const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
	const repeated = sorted.find((file, i) => sorted[i + 1]?.path === file.path);
	if (repeated) throw new Error(`${repeated.path} is in the release twice`);
	const parts = sorted.flatMap((file) => [
		header(file),
		file.content,
		Buffer.alloc((blockBytes - (file.content.length % blockBytes)) % blockBytes),
	]);
	return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)]);
}

/** A ustar header (POSIX.1-1988). */
function header(file: ReleaseFile): Buffer {
	const block = Buffer.alloc(blockBytes);
	const [name, prefix] = splitPath(file.path);
	block.write(name, 0, 100, "utf8");
	writeOctal(block, file.executable ? 0o755 : 0o644, 100, 8);
	writeOctal(block, 0, 108, 8);
	writeOctal(block, 0, 116, 8);
	writeOctal(block, file.content.length, 124, 12);
	writeOctal(block, 0, 136, 12);
	block.fill(" ", 148, 156);
	block.write("0", 156);
	block.write("ustar\u000000", 257, "latin1");
	block.write("root", 265);
	block.write("root", 297);
	block.write(prefix, 345, 155, "utf8");
	const sum = block.reduce((total, byte) => total + byte, 0);
	block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
	return block;
}

function writeOctal(block: Buffer, value: number, offset: number, length: number): void {
	block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, offset, "latin1");
}

/** The path's last at most 100 bytes, cut at a slash, and what stands before them. */
function splitPath(path: string): [name: string, prefix: string] {
	if (Buffer.byteLength(path) <= 100) return [path, ""];
	for (let slash = path.indexOf("/"); slash > 0; slash = path.indexOf("/", slash + 1)) {
		const [prefix, name] = [path.slice(0, slash), path.slice(slash + 1)];
		if (Buffer.byteLength(name) <= 100 && Buffer.byteLength(prefix) <= 155) return [name, prefix];
	}
	throw new Error(`${path} is too long for a tar of a release`);
}

/** A bundle on disk. */
export interface Bundle {
	/** Relative to the project. */
	path: string;
	/** SHA-256 of the tar. */
	sha256: string;
	/** What the release is called: the first 16 digits of the hash. */
	release: string;
}

/** Bundles that no deployment has asked for in so long are removed. */
const keptDays = 7;

/** Writes a release's tar under its content hash, and removes old ones. */
export function writeBundle(name: string, files: readonly ReleaseFile[]): Bundle {
	const content = tar(files);
	const sha256 = createHash("sha256").update(content).digest("hex");
	const release = sha256.slice(0, 16);
	const path = join(deliveriesFolder, `${name}-${release}.tar`);
	mkdirSync(deliveriesFolder, { recursive: true });
	const unfinished = `${path}.${process.pid}`;
	writeFileSync(unfinished, content);
	renameSync(unfinished, path);
	removeOldBundles();
	return { path, sha256, release };
}

function removeOldBundles(): void {
	for (const name of readdirSync(deliveriesFolder)) {
		const path = join(deliveriesFolder, name);
		// Another deployment may remove the same one.
		const written = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
		if (written !== undefined && written < Date.now() - keptDays * 86_400_000) rmSync(path, { force: true });
	}
}
