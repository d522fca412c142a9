import { readFileSync } from "node:fs";
import AjvModule from "ajv-draft-04";
import addFormatsModule from "ajv-formats";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { type FirstBoot, renderUserData } from "../cloud-init/render.ts";
import { cloudConfigSchema } from "./cloud-init-schema.ts";

// Both are CommonJS with a default export of their own.
const Ajv = AjvModule as unknown as typeof AjvModule.default;
const addFormats = addFormatsModule as unknown as typeof addFormatsModule.default;

interface CloudConfig {
	hostname: string;
	users: { name: string }[];
	write_files: { path: string; permissions: string; content: string; owner: string }[];
	runcmd: string[][];
	ssh_authorized_keys: string[];
}

const facts = {
	name: "machine",
	privateNetwork: "10.17.0.0/24",
	deployKey: "ssh-ed25519 DEPLOY",
	bootstrapHostKey: "-----BEGIN OPENSSH PRIVATE KEY-----\nBOOTSTRAP\n-----END OPENSSH PRIVATE KEY-----\n",
};
const volumeId = "11111111-2222-4333-8444-555555555555";
const gateway = "10.17.0.2";
const boots: FirstBoot[] = [
	{ role: "master", ...facts, gateway, volumeId },
	{ role: "repo", ...facts, gateway, volumeId },
	{ role: "builder", ...facts, gateway },
	{ role: "front", ...facts, volumeId },
];

/** As cloud-init reads it: with PyYAML, which knows YAML 1.1. */
function read(userData: string): CloudConfig {
	return parse(userData, { version: "1.1" }) as CloudConfig;
}

function contentOf(boot: FirstBoot, path: string): string | undefined {
	return read(renderUserData(boot)).write_files.find((file) => file.path === path)?.content;
}

describe.each(boots)("user-data of a $role", (boot) => {
	// The first time on a machine it is fetched from Debian's mirror.
	test("is what cloud-init's own schema allows", { timeout: 120_000 }, async () => {
		const ajv = new Ajv({ strict: false, allErrors: true });
		addFormats(ajv);
		const validate = ajv.compile(await cloudConfigSchema());
		validate(read(renderUserData(boot)));
		expect(validate.errors ?? []).toEqual([]);
		// The schema can fail.
		expect(validate({ ...read(renderUserData(boot)), runcmd: "echo" })).toBe(false);
	});

	test("starts as cloud-init wants it, fits, and is the same every time", () => {
		const userData = renderUserData(boot);
		expect(userData.startsWith("#cloud-config\n")).toBe(true);
		expect(Buffer.byteLength(userData)).toBeLessThan(127_998);
		expect(renderUserData(structuredClone(boot))).toBe(userData);
	});

	test("installs nothing itself and waits nowhere but in its one command", () => {
		const cloudConfig = read(renderUserData(boot));
		for (const key of ["packages", "package_update", "bootcmd", "fs_setup", "mounts"]) {
			expect(cloudConfig).not.toHaveProperty(key);
		}
		expect(cloudConfig.runcmd).toEqual([["/usr/local/lib/flathub/first-boot"]]);
	});

	test("permissions stay text in YAML 1.1", () => {
		for (const { permissions, path } of read(renderUserData(boot)).write_files) {
			expect(permissions, path).toMatch(/^0[0-7]{3}$/);
		}
	});

	test("the throw-away key is for root's eyes, and the first connection for one command", () => {
		const files = read(renderUserData(boot)).write_files;
		const key = files.find(({ path }) => path === "/etc/ssh/bootstrap/host_key");
		expect(key).toMatchObject({ permissions: "0600", owner: "root:root", content: facts.bootstrapHostKey });
		expect(contentOf(boot, "/etc/ssh/bootstrap/authorized_keys")).toBe(
			'restrict,command="/usr/local/lib/flathub/install-host-key" ssh-ed25519 DEPLOY\n',
		);
	});
});

test("files land byte for byte", () => {
	const source = readFileSync(new URL("../cloud-init/files/machine/first-boot", import.meta.url), "utf8");
	for (const boot of boots) expect(contentOf(boot, "/usr/local/lib/flathub/first-boot")).toBe(source);
});

describe("what a first boot is told", () => {
	const told = (boot: FirstBoot) => JSON.parse(contentOf(boot, "/etc/flathub/first-boot.json") ?? "null") as unknown;

	test.each(boots)("a $role", (boot) => {
		expect(told(boot)).toMatchObject({
			role: boot.role,
			privateNetwork: "10.17.0.0/24",
			gateway: boot.role === "front" ? null : gateway,
			volume:
				boot.role === "builder"
					? null
					: { device: `/dev/disk/by-id/scsi-0SCW_sbs_volume-${volumeId}`, mountPoint: "/srv" },
		});
	});

	test("a builder has no unit for a volume that it does not have", () => {
		const paths = read(renderUserData({ role: "builder", ...facts, gateway })).write_files.map(({ path }) => path);
		expect(paths).not.toContain("/etc/systemd/system/srv.mount");
	});
});

describe("hostile values stay values", () => {
	test.each(["$(curl evil)", "a: b\n  - c", "yes", "'\"`", "EOF", "0644", "#cloud-config", "\u2028", "  x"])(
		"%j",
		(value) => {
			const boot: FirstBoot = { role: "builder", ...facts, gateway: value, name: value, deployKey: value };
			const cloudConfig = read(renderUserData(boot));
			expect(cloudConfig.hostname).toBe(value);
			expect(cloudConfig.ssh_authorized_keys).toEqual([value]);
			expect(cloudConfig.runcmd).toEqual([["/usr/local/lib/flathub/first-boot"]]);
			expect(JSON.parse(contentOf(boot, "/etc/flathub/first-boot.json") ?? "")).toHaveProperty("gateway", value);
		},
	);
});
