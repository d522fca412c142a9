import { execFileSync } from "node:child_process";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

const inPackage = "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json";

/**
 * cloud-init's own JSON schema of a cloud-config: from a machine's image if one was made here, from this host, or out
 * of Debian's package, which is fetched once.
 *
 * @throws if none of them has it and the package can't be fetched.
 */
export function cloudConfigSchema(): object {
	const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "flathub-infrastructure");
	const images = existsSync(join(cache, "image")) ? readdirSync(join(cache, "image")) : [];
	const fetched = join(cache, "cloud-init", "schema-cloud-config-v1.json");
	const path = [
		...images.filter((name) => name.startsWith("debian_trixie-")).map((name) => join(cache, "image", name, inPackage)),
		`/${inPackage}`,
		fetched,
	].find((candidate) => existsSync(candidate));
	if (path === undefined) fetchSchema(fetched);
	return JSON.parse(readFileSync(path ?? fetched, "utf8")) as object;
}

function fetchSchema(target: string): void {
	const folder = mkdtempSync(join(tmpdir(), "flathub-cloud-init-"));
	try {
		execFileSync("apt-get", ["download", "cloud-init"], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
		const [deb = ""] = readdirSync(folder);
		const files = execFileSync("dpkg-deb", ["--fsys-tarfile", deb], { cwd: folder, maxBuffer: 2 ** 28 });
		const schema = execFileSync("tar", ["-xO", `./${inPackage}`], { input: files, maxBuffer: 2 ** 28 });
		mkdirSync(join(target, ".."), { recursive: true });
		writeFileSync(`${target}.new`, schema);
		renameSync(`${target}.new`, target);
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}
