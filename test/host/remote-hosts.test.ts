import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startEmulation, stopEmulation } from "../../local/binfmt.ts";
import { createHost, type HostOptions } from "../../local/cloud/host/hypervisor.ts";
import { localSettings } from "../../local/settings.ts";
import { RemoteHosts } from "../../local/world/remote-hosts.ts";
import { run } from "../../process/run.ts";

// A machine outside a data centre of its own name and addresses, beside any other on this host.

const prefix = "t-remote";
const address = "198.18.78.21";
const state = mkdtempSync("/var/tmp/t-remote-");
const options: HostOptions = {
	prefix,
	stateDirectory: state,
	plan: {
		uplinkOuter: "198.51.100.13",
		uplinkInner: "198.51.100.14",
		uplinkSubnet: "198.51.100.12/30",
		publicSubnet: "198.18.78.0/24",
		publicGateway: "198.18.78.1",
		domains: { "github.test": "198.18.78.10" },
	},
	neededGb: { state: 2, image: 1 },
};
const cloud = createHost(options);
const hosts = new RemoteHosts({
	stateDir: state,
	cacheDir: localSettings().cacheDir,
	prefix,
	gateway: "198.18.78.1",
});
const inHost = (...argv: string[]) => hosts.enter("codethink-1", argv);

/** Names on the host that bear the data centre's name. */
const leftovers = () => ({
	namespaces: existsSync("/run/netns") ? readdirSync("/run/netns").filter((name) => name.startsWith(prefix)) : [],
	mounts: readFileSync("/proc/mounts", "utf8")
		.split("\n")
		.filter((line) => line.includes(state) || line.includes(prefix)),
});

/** A command by way of SSH, with the key that was let in and the host key that is expected. */
async function ssh(command: string): Promise<string> {
	const { stdout } = await run([
		...["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"],
		...["-o", `UserKnownHostsFile=${join(state, "known-hosts")}`, "-i", join(state, "key"), `root@${address}`, command],
	]);
	return stdout;
}

beforeAll(async () => {
	await cloud.start();
});
afterAll(async () => {
	await hosts.stop();
	await cloud.stop();
	rmSync(state, { recursive: true, force: true });
});

describe("a remote host", () => {
	it("starts, has a host key that stays, and lets in whom it is told to", async () => {
		await hosts.start({ "codethink-1": address });
		const hostKey = hosts.hostKey("codethink-1");
		await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(state, "key")]);
		await run(["sh", "-c", `echo "${address} ${hostKey}" >${state}/known-hosts`]);
		await expect(ssh("true")).rejects.toThrow("Permission denied");
		const publicKey = readFileSync(join(state, "key.pub"), "utf8");
		await hosts.letIn("codethink-1", publicKey);
		await hosts.letIn("codethink-1", publicKey);
		expect(await ssh("id -u; hostname; wc -l </root/.ssh/authorized_keys")).toBe("0\ncodethink-1\n1");
		expect(await ssh("systemctl is-system-running --wait || systemctl --failed --plain")).toBe("running");
		await hosts.start({ "codethink-1": address });
		expect(hosts.hostKey("codethink-1")).toBe(hostKey);
	});

	it("finds the make-believe internet, the real one, and a package", async () => {
		expect(await ssh("getent ahostsv4 github.test | cut -d' ' -f1 | sort -u")).toBe("198.18.78.10");
		await ssh("apt-get update && apt-get install -y --no-install-recommends hello");
		expect(await ssh("hello")).toBe("Hello, world!");
	});

	it("knows nothing of cloud-init", async () => {
		expect(await ssh("ls -d /var/lib/cloud /etc/cloud 2>/dev/null || echo none")).toBe("none");
	});

	it("loses its power in the middle and comes back with its disk and its host key", async () => {
		await ssh("sleep 1000 >/dev/null 2>&1 & echo kept >/root/file && sync");
		await hosts.cutPower("codethink-1");
		expect(hosts.isRunning("codethink-1")).toBe(false);
		await hosts.powerOn("codethink-1");
		expect(await ssh("cat /root/file; pgrep sleep || echo none")).toBe("kept\nnone");
		await hosts.powerOff("codethink-1");
		await hosts.powerOn("codethink-1");
		expect(await ssh("cat /root/file")).toBe("kept");
	});

	it("refuses names that are not there and keys that are none", async () => {
		await expect(hosts.powerOn("codethink-9")).rejects.toThrow(
			'remote host "codethink-9" is not there; expected one of codethink-1',
		);
		await expect(hosts.letIn("codethink-1", "ssh-ed25519 AAAA\nssh-ed25519 BBBB")).rejects.toThrow(
			"is no ED25519 public key of one line",
		);
	});
});

describe("emulation of arm and aarch64", () => {
	const table = "/proc/sys/fs/binfmt_misc";
	const registered = () => readdirSync(table).sort();

	it("is there while somebody needs it, a machine's end does not end it, and what was there before stays", async () => {
		const before = registered();
		await startEmulation("t-one");
		try {
			await startEmulation("t-two");
			expect(registered()).toEqual(expect.arrayContaining(["qemu-aarch64", "qemu-arm"]));
			expect(readFileSync(join(table, "qemu-arm"), "utf8")).toMatch(/^enabled\n[\s\S]*^flags: \S*F/m);
			await hosts.powerOff("codethink-1");
			await hosts.powerOn("codethink-1");
			await inHost("systemctl", "is-system-running", "--wait");
			await stopEmulation("t-one");
			expect(registered()).toEqual(expect.arrayContaining(["qemu-aarch64", "qemu-arm"]));
		} finally {
			await stopEmulation("t-one");
			await stopEmulation("t-two");
		}
		await stopEmulation("t-two");
		expect(registered()).toEqual(before);
	});

	it("leaves alone what somebody else had mounted and registered", async () => {
		const rule = join(table, "qemu-arm");
		const isMounted = existsSync(join(table, "register"));
		if (!isMounted) await run(["mount", "-t", "binfmt_misc", "binfmt_misc", table]);
		const isRegistered = existsSync(rule);
		try {
			if (!isRegistered) writeFileSync(join(table, "register"), readFileSync("/usr/lib/binfmt.d/qemu-arm.conf"));
			const before = registered();
			await startEmulation("t-one");
			await stopEmulation("t-one");
			expect(registered()).toEqual(before);
		} finally {
			if (!isRegistered) writeFileSync(rule, "-1");
			if (!isMounted) await run(["umount", table]);
		}
	});
});

describe("stop", () => {
	it("leaves nothing, and works on nothing", async () => {
		await hosts.stop();
		await hosts.stop();
		expect(hosts.names()).toEqual([]);
		await cloud.stop();
		expect(leftovers()).toEqual({ namespaces: [], mounts: [] });
	});
});
