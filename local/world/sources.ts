import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cachedDirectory, recipeKey } from "../cached-directory.ts";
import { readHostFacts } from "../debian/host-facts.ts";

interface Source {
	/** Name under `http://runtimes.test/sources/`. */
	name: string;
	/** Path in a Debian mirror. */
	path: string;
	sha256: string;
}

/** Upstream release tarballs, as Debian's source packages carry them byte for byte. */
const SOURCES: Source[] = [
	{
		name: "hello-2.10.tar.gz",
		path: "pool/main/h/hello/hello_2.10.orig.tar.gz",
		sha256: "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b",
	},
];

/** A folder with the tarballs that the sample apps are built from; fetched from the host's Debian mirror and verified. */
export function fetchSources(cacheDir: string, onProgress: (line: string) => void = () => {}): Promise<string> {
	return cachedDirectory(join(cacheDir, `sources-${recipeKey(SOURCES)}`), async (directory) => {
		const { mirror } = await readHostFacts();
		for (const { name, path, sha256 } of SOURCES) {
			const url = `${mirror}/${path}`;
			onProgress(`${name}: download from ${url}`);
			const response = await fetch(url, { signal: AbortSignal.timeout(120_000) });
			if (!response.ok) throw new Error(`${url}: HTTP status ${response.status}`);
			const data = Buffer.from(await response.arrayBuffer());
			const actual = createHash("sha256").update(data).digest("hex");
			if (actual !== sha256) throw new Error(`${url}: SHA-256 is ${actual}, expected ${sha256}`);
			await writeFile(join(directory, name), data);
		}
	});
}
