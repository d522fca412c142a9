import { describe, expect, it } from "vitest";
import { flathub } from "./flathub.ts";

/** Who reaches whom. */
export function networkTests(): void {
	describe("the network", () => {
		it("lets the world reach front alone", async () => {
			const { world, outputs } = flathub;
			const reaches = async (address: string) =>
				(await world.client.run(["curl", "--silent", "--max-time", "4", "--output", "/dev/null", `http://${address}/`]))
					.exitCode === 0;
			expect(await reaches(outputs.publicAddress)).toBe(true);
			for (const [name, { address }] of Object.entries(outputs.machines)) {
				expect([name, await reaches(address)]).toEqual([name, false]);
			}
		});

		it("takes a builder to the package mirror through front's NAT", async () => {
			const packets = async () =>
				Number(/packets (\d+)/.exec(await flathub.on("front", "nft", "list", "counter", "ip", "nat", "nat_out"))?.[1]);
			const earlier = await packets();
			await flathub.on("builder-1", "apt-get", "update");
			expect(await packets()).toBeGreaterThan(earlier);
			expect(await flathub.on("builder-1", "ip", "route", "show", "default")).toContain("via 10.17.0.2");
		});

		it("keeps a builder from every other machine but the master's worker port", async () => {
			const open = async (host: string, port: number) =>
				(
					await flathub.access.ssh("builder-1", ["timeout", "4", "bash", "-c", `exec 3<>/dev/tcp/${host}/${port}`], {
						mayFail: true,
					})
				).exitCode === 0;
			expect(await open("10.17.0.10", 9989)).toBe(true);
			expect(await open("10.17.0.10", 22)).toBe(false);
			expect(await open("10.17.0.10", 8010)).toBe(false);
			expect(await open("10.17.0.20", 80)).toBe(false);
			expect(await open("10.17.0.32", 22)).toBe(false);
		});
	});
}
