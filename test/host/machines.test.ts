import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect } from "node:net";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHost, type HostOptions } from "../../local/cloud/host/hypervisor.ts";
import { cutPower } from "../../local/cloud/host/power-cut.ts";
import type { NicSpec, SecurityGroupSpec, ServerSpec } from "../../local/cloud/hypervisor.ts";
import { run } from "../../process/run.ts";

// Real machines in a data centre of its own name and addresses, beside any other on this host.

const prefix = "t-machines";
const publicAddress = "198.18.77.100";
const options: HostOptions = {
	prefix,
	stateDirectory: mkdtempSync("/var/tmp/t-machines-"),
	plan: {
		uplinkOuter: "198.51.100.9",
		uplinkInner: "198.51.100.10",
		uplinkSubnet: "198.51.100.8/30",
		publicSubnet: "198.18.77.0/24",
		publicGateway: "198.18.77.1",
		domains: { "flathub.test": publicAddress },
	},
	neededGb: { state: 2, image: 1 },
};
const state = options.stateDirectory as string;
const host = createHost(options);
const before = leftovers();

const ids = {
	front: "aaaaaaaa-0000-4000-8000-000000000001",
	repo: "bbbbbbbb-0000-4000-8000-000000000002",
	other: "cccccccc-0000-4000-8000-000000000003",
	network: "dddddddd-0000-4000-8000-000000000004",
	otherNetwork: "eeeeeeee-0000-4000-8000-000000000005",
	volume: "ffffffff-0000-4000-8000-000000000006",
};
const device = `/dev/disk/by-id/scsi-0SCW_sbs_volume-${ids.volume}`;

function server(name: "front" | "repo" | "other", extra: Partial<ServerSpec> = {}): ServerSpec {
	return { id: ids[name], name, imageLabel: "debian_trixie", sshPublicKeys: [], volumeIds: [], ...extra };
}

const front = server("front", {
	publicNic: { macAddress: "de:00:00:00:00:01", address: `${publicAddress}/24`, gateway: "198.18.77.1" },
});
const repo = server("repo", {
	volumeIds: [ids.volume],
	userData:
		"#cloud-config\nusers:\n  - name: build\nruncmd:\n  - [touch, /root/first-boot]\n  - [touch, /root/count]\n",
});
const frontNic: NicSpec = nic("11111111-0000-4000-8000-000000000007", "02:00:00:00:00:07", "10.17.0.2/24", "front");
const repoNic: NicSpec = nic("22222222-0000-4000-8000-000000000008", "02:00:00:00:00:08", "10.17.0.20/24", "repo");

function nic(id: string, macAddress: string, address: string, hostName: string): NicSpec {
	return { id, macAddress, address, hostName, privateNetworkId: ids.network };
}

const inFront = (...argv: string[]) => host.enter(ids.front, argv, { timeoutSeconds: 200 });
const inRepo = (...argv: string[]) => host.enter(ids.repo, argv, { timeoutSeconds: 200 });
const fails = (command: Promise<string>) =>
	command.then(
		(out) => Promise.reject(new Error(`expected a failure, got: ${out}`)),
		(error: Error) => error.message,
	);

/** Everything on the host that bears the data centre's name, addresses or directory, and the settings it changes. */
function leftovers(): Record<string, string[]> {
	const own = [prefix, state, "198.51.100.9", "198.51.100.10", "198.18.77."];
	const lines = (...argv: [string, ...string[]]) =>
		execFileSync(argv[0], argv.slice(1), { encoding: "utf8" })
			.split("\n")
			.filter((line) => own.some((word) => line.includes(word)));
	return {
		namespaces: lines("ip", "netns", "list"),
		interfaces: lines("ip", "-brief", "address"),
		routes: lines("ip", "route", "show", "table", "all"),
		loopDevices: lines("losetup", "--all"),
		mounts: lines("cat", "/proc/mounts"),
		tables: lines("nft", "list", "tables"),
		cgroups: lines("find", "/sys/fs/cgroup", "-maxdepth", "3", "-type", "d"),
		processes: lines("ps", "-eo", "args").filter((line) => !line.includes("vitest") && !line.startsWith("ps ")),
		forwarding: existsSync("/run/flathub-local-forwarding")
			? ["in use by another data centre"]
			: [readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8")],
		runtimeFiles: lines("find", "/run", "-maxdepth", "4", "-name", `*${prefix}*`),
	};
}

async function poll<T>(what: string, seconds: number, probe: () => Promise<T | undefined>): Promise<T> {
	const deadline = Date.now() + seconds * 1000;
	for (;;) {
		const value = await probe();
		if (value !== undefined) return value;
		if (Date.now() > deadline) throw new Error(`${what}: not within ${seconds} s`);
		await delay(10);
	}
}

const hasAddress = (run: typeof inRepo, address: string) =>
	poll(`address ${address}`, 60, async () =>
		(await run("ip", "-brief", "address")).includes(address) ? true : undefined,
	);

/** The first line that a TCP service says; undefined if nobody answers within two seconds. */
function banner(address: string, port: number): Promise<string | undefined> {
	return new Promise((resolve) => {
		const socket = connect({ host: address, port, timeout: 2000 });
		const end = (value: string | undefined) => {
			socket.destroy();
			resolve(value);
		};
		socket.once("data", (data) => end(data.toString()));
		socket.once("timeout", () => end(undefined));
		socket.once("error", () => end(undefined));
	});
}

function metadataService(): Server {
	return createServer((request, response) => {
		const known: Record<string, string> = {
			"/": "{}",
			"/user_data/cloud-init": "#cloud-config\nruncmd:\n  - [touch, /root/first-boot]\n",
			"/conf?format=json": JSON.stringify({
				...{
					id: ids.front,
					hostname: "front",
					zone: "fr-par-1",
					tags: [],
					ssh_public_keys: [],
					private_ip: null,
					ipv6: null,
				},
				public_ips: [{ address: publicAddress, netmask: "24", family: "inet", gateway: "198.18.77.1" }],
			}),
		};
		// Without a length the client reads to the end: the side that closes first keeps the port, and cloud-init
		// wants its source port 1 again at once.
		response.useChunkedEncodingByDefault = false;
		response.shouldKeepAlive = false;
		const body = known[request.url ?? ""];
		const fromRoot = (request.socket.remotePort ?? 65535) < 1024;
		response.statusCode = body === undefined ? 404 : request.url?.startsWith("/user_data") && !fromRoot ? 403 : 200;
		response.write(response.statusCode === 200 ? body : "no");
		response.end();
	});
}

describe("what keeps it from starting is said at once, readably", () => {
	it("too little space: how much is needed, where", async () => {
		const tight = createHost({ ...options, neededGb: { state: 1_000_000, image: 1 } });
		await expect(tight.start()).rejects.toThrow(/t-machines.*GB free, 1000000 GB needed/);
	});
	it("missing tools: their Debian packages", async () => {
		const old = process.env.PATH;
		process.env.PATH = "/nowhere";
		try {
			await expect(createHost(options).start()).rejects.toThrow(/apt-get install .*mmdebstrap.*systemd-container/);
		} finally {
			process.env.PATH = old;
		}
	});
	it("a namespace of that name that something else made", async () => {
		execFileSync("ip", ["netns", "add", prefix]);
		try {
			await expect(createHost(options).start()).rejects.toThrow(`network namespace ${prefix} is there already`);
		} finally {
			execFileSync("ip", ["netns", "delete", prefix]);
		}
	});
	it("an unknown image label", async () => {
		await expect(host.prepareServer({ id: ids.other, name: "other", imageLabel: "plan9" })).rejects.toThrow(
			'image label "plan9": not known, expected one of debian_trixie',
		);
	});
});

describe("machines", () => {
	const metadata = metadataService();
	const exits: string[] = [];

	beforeAll(async () => {
		await host.start();
		metadata.listen(8042, "198.51.100.9");
		host.onExit((id) => exits.push(id));
		await host.createPrivateNetwork({ id: ids.network, subnet: "10.17.0.0/24" });
		await host.createVolume(ids.volume, 300_000_000);
		for (const { id, name, imageLabel } of [front, repo]) await host.prepareServer({ id, name, imageLabel });
		await Promise.all([host.powerOn(front), host.powerOn(repo)]);
	});

	afterAll(async () => {
		metadata.close();
		metadata.closeAllConnections();
		await host.stop();
		rmSync(state, { recursive: true, force: true });
	});

	it("starting again what runs changes nothing", async () => {
		const leader = readFileSync(path.join(state, "host/servers", ids.front, "leader.json"), "utf8");
		await host.start();
		await host.powerOn(front);
		await host.createPrivateNetwork({ id: ids.network, subnet: "10.17.0.0/24" });
		expect(readFileSync(path.join(state, "host/servers", ids.front, "leader.json"), "utf8")).toBe(leader);
	});

	it("a machine without a public NIC boots without network and gets its reserved address once plugged", async () => {
		expect((await inRepo("ls", "/sys/class/net")).split("\n").filter(Boolean)).toEqual(["lo"]);
		await host.plugNic(ids.repo, repoNic);
		await host.plugNic(ids.front, frontNic);
		await hasAddress(inRepo, "10.17.0.20/24");
		await hasAddress(inFront, "10.17.0.2/24");
		expect(await inRepo("ip", "route", "show", "default")).toBe("");
		await inRepo("cloud-init", "status", "--wait");
		expect((await inRepo("cloud-init", "query", "cloud_id")).trim()).toBe("nocloud");
		expect((await inRepo("hostname")).trim()).toBe("repo");
		await inRepo("test", "-e", "/root/first-boot");
	});

	it("a machine with a public NIC asks the metadata service, as on Scaleway", async () => {
		// Exit status 2: cloud-init's own schema refuses the route that its Scaleway datasource makes.
		await inFront("sh", "-c", "cloud-init status --wait || [ $? -eq 2 ]");
		expect((await inFront("cloud-init", "query", "cloud_id")).trim()).toBe("scaleway");
		await inFront("test", "-e", "/root/first-boot");
		expect((await inFront("systemctl", "is-system-running")).trim()).toBe("running");
		expect(await inFront("curl", "-sf", "http://169.254.42.42/conf?format=json")).toContain(ids.front);
	});

	it("the host reaches its sshd, and it reaches the outside", async () => {
		expect(await poll("sshd answers", 30, () => banner(publicAddress, 22))).toContain("SSH-2.0");
		await inFront("apt-get", "update", "--error-on=any");
		await inFront("apt-get", "install", "--yes", "--no-install-recommends", "nftables");
	});

	it("names: the make-believe internet's, the private network's", async () => {
		expect(await inFront("getent", "hosts", "www.flathub.test")).toContain(publicAddress);
		expect(await inRepo("getent", "ahostsv4", "front")).toContain("10.17.0.2");
		expect(await inRepo("resolvectl", "dns")).toContain("169.254.169.254");
	});

	it("a machine on the private network reaches the outside through the other one's NAT only", async () => {
		await fails(inRepo("timeout", "10", "apt-get", "update", "--error-on=any", "-o", "Acquire::Retries=0"));
		// Nor through the data centre's own address on the network.
		await inRepo("ip", "route", "add", "default", "via", "10.17.0.1");
		await fails(inRepo("timeout", "10", "apt-get", "update", "--error-on=any", "-o", "Acquire::Retries=0"));
		await inFront("sysctl", "-q", "-w", "net.ipv4.ip_forward=1");
		const rule = "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname ens2 masquerade; }; }";
		await inFront("nft", rule);
		await inRepo("ip", "route", "replace", "default", "via", "10.17.0.2");
		await inRepo("apt-get", "update", "--error-on=any");
	});

	it("an unprivileged user can make namespaces with bubblewrap, as flatpak-builder does", async () => {
		await inRepo("apt-get", "install", "--yes", "--no-install-recommends", "bubblewrap");
		const bwrap = [
			"bwrap",
			"--unshare-all",
			"--ro-bind",
			"/",
			"/",
			"--proc",
			"/proc",
			"--dev",
			"/dev",
			"--tmpfs",
			"/tmp",
		];
		const out = await inRepo(
			"runuser",
			"-u",
			"build",
			"--",
			...bwrap,
			"sh",
			"-c",
			"ls -d /proc/[0-9]* | wc -l; id -un",
		);
		expect(out).toMatch(/^[1-5]\nbuild$/);
	});

	it("private networks don't see each other, and the make-believe internet doesn't see them", async () => {
		const subnet = "10.18.0.0/24";
		await host.createPrivateNetwork({ id: ids.otherNetwork, subnet });
		await host.prepareServer({ id: ids.other, name: "other", imageLabel: "debian_trixie" });
		await host.powerOn(server("other", { userData: "" }));
		const otherNic = {
			...nic("33333333-0000-4000-8000-000000000009", "02:00:00:00:00:09", "10.18.0.9/24", "other"),
			privateNetworkId: ids.otherNetwork,
		};
		await host.plugNic(ids.other, otherNic);
		const inOther = (...argv: string[]) => host.enter(ids.other, argv);
		await hasAddress(inOther, "10.18.0.9/24");
		await inOther("ip", "route", "add", "default", "via", "10.18.0.1");
		await inOther("ping", "-c1", "-W2", "10.18.0.1");
		await fails(inOther("ping", "-c1", "-W1", "10.17.0.20"));
		await fails(inOther("ping", "-c1", "-W1", publicAddress));
		expect(await banner("10.17.0.20", 22)).toBeUndefined();
		await host.deleteServer(ids.other);
		await host.deletePrivateNetwork(ids.otherNetwork);
		expect(host.isRunning(ids.other)).toBe(false);
	});

	it("a security group filters the public side, and only that", async () => {
		const drop: SecurityGroupSpec = {
			...{ stateful: true, inboundDefault: "drop", outboundDefault: "accept" },
			rules: [
				{ direction: "inbound", action: "accept", protocol: "TCP", ipRange: "0.0.0.0/0", portFrom: 80, portTo: null },
			],
		};
		await host.applySecurityGroup(ids.front, publicAddress, drop);
		expect(await banner(publicAddress, 22)).toBeUndefined();
		await inFront("apt-get", "update", "--error-on=any"); // answers pass
		await inFront("curl", "-sf", "http://169.254.42.42/");
		const withSsh = { ...drop, rules: drop.rules.map((rule) => ({ ...rule, portFrom: 20, portTo: 22 })) };
		await host.applySecurityGroup(ids.front, publicAddress, withSsh);
		expect(await poll("sshd answers", 30, () => banner(publicAddress, 22))).toContain("SSH-2.0");
		// On the bridge too: a neighbour in the make-believe internet is outside like any other.
		const neighbour = "t-machines-net";
		const inside = (...argv: string[]) => execFileSync("nsenter", [`--net=/run/netns/${prefix}`, "--", ...argv]);
		const probe = (port: number) =>
			execFileSync(
				"nsenter",
				[`--net=/run/netns/${neighbour}`, "--", "timeout", "2", "bash", "-c", `: </dev/tcp/${publicAddress}/${port}`],
				{ stdio: "pipe" },
			);
		execFileSync("ip", ["netns", "add", neighbour]);
		try {
			inside("ip", "link", "add", "t-neighbour", "type", "veth", "peer", "name", "eth0", "netns", neighbour);
			inside("ip", "link", "set", "t-neighbour", "master", "public", "up");
			for (const argv of [
				["address", "add", "198.18.77.11/24", "dev", "eth0"],
				["link", "set", "eth0", "up"],
			]) {
				execFileSync("ip", ["-n", neighbour, ...argv]);
			}
			probe(22);
			await host.applySecurityGroup(ids.front, publicAddress, drop);
			expect(() => probe(22)).toThrow();
			await host.removeSecurityGroup(ids.front, publicAddress);
			probe(22);
		} finally {
			execFileSync("ip", ["netns", "delete", neighbour]);
		}
		expect(await poll("sshd answers", 30, () => banner(publicAddress, 22))).toContain("SSH-2.0");
	});

	it("a guest's own reboot keeps its NICs", async () => {
		const bootId = await inRepo("sh", "-c", "touch /run/before-reboot; echo done");
		expect(bootId).toBe("done");
		await inRepo("systemctl", "reboot").catch(() => ""); // the shell may be cut off
		await poll("the machine is back", 60, () => inRepo("test", "!", "-e", "/run/before-reboot").catch(() => undefined));
		await hasAddress(inRepo, "10.17.0.20/24");
	});

	it("a volume's data outlives its server, its size grows in use", async () => {
		expect((await inRepo("blkid", "-p", device).catch(() => "nothing")).trim()).toBe("nothing");
		await inRepo("mkfs.ext4", "-q", device);
		await inRepo("mount", device, "/srv");
		await inRepo("sh", "-c", "echo kept >/srv/file");
		await host.resizeVolume(ids.volume, 400_000_000);
		expect((await inRepo("blockdev", "--getsize64", device)).trim()).toBe("400000000");
		// Unmounted, since a host may lack CAP_SYS_RESOURCE, which growing a mounted file system needs.
		await inRepo("sh", "-c", `umount /srv && e2fsck -fp ${device} && resize2fs ${device}`);
		await host.deleteServer(ids.repo);
		expect(host.isRunning(ids.repo)).toBe(false);
		await host.prepareServer({ id: ids.other, name: "repo", imageLabel: "debian_trixie" });
		await host.powerOn({ ...repo, id: ids.other });
		await host.enter(ids.other, ["mount", device, "/srv"]);
		expect(await host.enter(ids.other, ["cat", "/srv/file"])).toBe("kept");
		// The address is free for the new server's NIC, although the old one's lease has not ended.
		await host.plugNic(ids.other, {
			...repoNic,
			id: "44444444-0000-4000-8000-00000000000a",
			macAddress: "02:00:00:00:00:0a",
		});
		await hasAddress((...argv) => host.enter(ids.other, argv), "10.17.0.20/24");
	});

	it("a network's bridge has an address of its own, whichever machines come and go", async () => {
		const { stdout } = await run(["ip", "-json", "link", "show", "type", "bridge"], { namespace: prefix });
		const addresses = (JSON.parse(stdout) as { address: string }[]).map(({ address }) => address);
		expect(addresses.length).toBeGreaterThan(0);
		for (const address of addresses) expect(address).toMatch(/^0a:/);
	});

	it("a power cut ends a machine at once and loses what its volume had not been sent", async () => {
		const inOther = (...argv: string[]) => host.enter(ids.other, argv, { timeoutSeconds: 60 });
		await inOther("sh", "-c", "echo sent >/srv/sent; sync; echo unsent >/srv/unsent; echo kept >/root/kept");
		const place = { prefix, directory: path.join(state, "host"), imageDirectory: "" };
		exits.length = 0;
		await cutPower(place, ids.other);
		await poll("the exit is reported", 60, async () => (exits.includes(ids.other) ? true : undefined));
		expect(host.isRunning(ids.other)).toBe(false);
		await cutPower(place, ids.other);
		await host.powerOn({ ...repo, id: ids.other });
		await inOther("mount", device, "/srv");
		expect(await inOther("sh", "-c", "cat /srv/sent /root/kept; ls /srv")).toBe("sent\nkept\nfile\nlost+found\nsent");
	});

	it("a power cycle keeps the root disk and is no first boot", async () => {
		await inFront("sh", "-c", "rm /root/first-boot; echo kept >/root/file");
		exits.length = 0;
		await host.powerOff(ids.front);
		expect(host.isRunning(ids.front)).toBe(false);
		expect(exits).toEqual([ids.front]);
		expect(readFileSync(host.consoleLog(ids.front), "utf8")).toContain("Powering off");
		await host.powerOn(front);
		await host.plugNic(ids.front, frontNic);
		await hasAddress(inFront, `${publicAddress}/24`);
		await hasAddress(inFront, "10.17.0.2/24");
		await inFront("sh", "-c", "cloud-init status --wait || [ $? -eq 2 ]");
		expect(await inFront("cat", "/root/file")).toBe("kept");
		await fails(inFront("test", "-e", "/root/first-boot"));
		expect(await poll("sshd answers", 30, () => banner(publicAddress, 22))).toContain("SSH-2.0");
	});

	it("another process adopts what runs, and hears of a machine's own power-off", async () => {
		const second = createHost(options);
		const heard: string[] = [];
		second.onExit((id) => heard.push(id));
		await second.start();
		expect(second.isRunning(ids.other)).toBe(true);
		await second.enter(ids.other, ["systemctl", "poweroff"]).catch(() => "");
		await poll("the exit is reported", 60, async () => (heard.includes(ids.other) ? true : undefined));
		expect(second.isRunning(ids.other)).toBe(false);
	});

	it("stop leaves nothing on the host, after a kill too, and can be repeated", async () => {
		expect(leftovers().mounts).not.toEqual([]);
		const { pid } = JSON.parse(readFileSync(path.join(state, "host/servers", ids.front, "leader.json"), "utf8"));
		const parent = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
		process.kill(parent, "SIGKILL"); // the machine's nspawn
		rmSync(path.join(state, "host/servers", ids.front, "leader.json"), { force: true });
		const afterKill = createHost(options);
		await afterKill.stop();
		expect(leftovers()).toEqual(before);
		await afterKill.stop();
		await host.stop();
		expect(leftovers()).toEqual(before);
	});

	it.each([
		["the namespace is there", `/run/netns/${prefix}`],
		["a root disk is mounted", path.join(state, "host/servers", ids.front, "root/usr")],
		["a machine runs", path.join(state, "host/servers", ids.front, "leader.json")],
		["another one runs", path.join(state, "host/servers", ids.other, "leader.json")],
	])("stop takes away what a process killed once %s had made", async (what, file) => {
		expect(existsSync(file)).toBe(false);
		const script = `
			const { createHost } = await import(process.argv[1]);
			const host = createHost(JSON.parse(process.argv[2]));
			await host.start();
			for (const server of JSON.parse(process.argv[3])) await host.powerOn(server);
			await host.plugNic("${ids.front}", JSON.parse(process.argv[4]));
			setInterval(() => {}, 1000);
		`;
		const module = new URL("../../local/cloud/host/hypervisor.ts", import.meta.url).href;
		const input = [options, [front, { ...repo, id: ids.other }], frontNic].map((value) => JSON.stringify(value));
		const argv = ["--import", "tsx", "--input-type=module", "--eval", script, module, ...input];
		const child = spawn(process.execPath, argv, { stdio: "ignore" });
		await poll(what, 60, async () => (existsSync(file) ? true : undefined));
		child.kill("SIGKILL");
		await createHost(options).stop();
		expect(leftovers()).toEqual(before);
	});

	it("starts again from what the state directory holds", async () => {
		await host.start();
		expect(host.isRunning(ids.front)).toBe(false);
		await host.powerOn(front);
		await host.plugNic(ids.front, frontNic);
		await hasAddress(inFront, "10.17.0.2/24");
		expect(await inFront("cat", "/root/file")).toBe("kept");
		await host.stop();
		expect(leftovers()).toEqual(before);
	});
});
