import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cachedDirectory, recipeKey } from "../local/cached-directory.ts";
import { readHostFacts } from "../local/debian/host-facts.ts";
import { localSettings } from "../local/settings.ts";
import { run } from "../process/run.ts";

/** The release whose image the machines have; an older cloud-init has another schema. */
const suite = "trixie";

/**
 * cloud-init's own JSON schema of a cloud-config, out of the package of the machines' Debian release, fetched once.
 *
 * @throws Error if the package can't be fetched
 */
export async function cloudConfigSchema(): Promise<object> {
	const { mirror } = await readHostFacts();
	const folder = await cachedDirectory(
		join(localSettings().cacheDir, "cloud-init", `${suite}-${recipeKey([mirror])}`),
		(building) => fetchSchema(mirror, building),
	);
	return JSON.parse(readFileSync(join(folder, "schema.json"), "utf8")) as object;
}

async function fetchSchema(mirror: string, folder: string): Promise<void> {
	const apt = join(folder, "apt");
	for (const name of ["lists/partial", "cache/archives/partial"]) mkdirSync(join(apt, name), { recursive: true });
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
	writeFileSync(join(apt, "sources.list"), `deb [signed-by=${keyring}] ${mirror} ${suite} main\n`);
	// Lists and cache of its own: the host's apt stays as it is.
	const options = Object.entries({
		"Dir::Etc::SourceList": join(apt, "sources.list"),
		"Dir::Etc::SourceParts": "/dev/null",
		"Dir::State::Lists": join(apt, "lists"),
		"Dir::Cache": join(apt, "cache"),
		"APT::Sandbox::User": "root",
		"Acquire::Languages": "none",
	}).map(([key, value]) => `-o${key}=${value}`);
	await run(["apt-get", ...options, "update"]);
	await run(["apt-get", ...options, "download", "cloud-init"], { cwd: apt });
	await run(["sh", "-c", 'dpkg-deb --extract "$1"/cloud-init_*.deb "$1"/package', "sh", apt]);
	const schema = "package/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json";
	writeFileSync(join(folder, "schema.json"), readFileSync(join(apt, schema)));
	rmSync(apt, { recursive: true });
}
