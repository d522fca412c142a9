import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { projectDir } from "../../project-dir.ts";
import { finalStatus, flathub } from "./flathub.ts";

/** What strangers may try: each with an inert payload, each answered on that build or request alone. */
export function hostileTests(): void {
	describe("a hostile build", () => {
		it("gets at nothing: its build fails if any of its attempts works", async () => {
			const { world } = flathub;
			const app = "org.flathub.test.Hostile";
			const { commit } = await world.push({
				app,
				directory: join(projectDir, "test/stack/apps", app),
				message: "try everything",
			});
			expect(await finalStatus(world, app, commit, "flathub/build-x86_64")).toBe("success");
		});

		/** The exit code of an attempt to connect as the user that builds. */
		const connect = async (machine: string, host: string, port: number) => {
			const attempt = ["timeout", "4", "bash", "-c", `exec 3<>/dev/tcp/${host}/${port}`];
			const command = ["runuser", "-u", "build", "--", ...attempt];
			return (await flathub.access.ssh(machine, command, { mayFail: true })).exitCode;
		};

		it.each(["builder-2", "codethink-1"])(
			"can connect to the outside as the user that builds on %s",
			async (machine) => {
				expect(await connect(machine, flathub.outputs.publicAddress, 80)).toBe(0);
			},
		);

		it.each([
			["the master's worker port", "10.17.0.10", 9989],
			["the master's web service", "10.17.0.10", 8010],
			["the repository", "10.17.0.20", 80],
			["another builder", "10.17.0.31", 22],
			["the metadata service", "169.254.42.42", 80],
		])("can't connect to %s as the user that builds", async (_, host, port) => {
			expect(await connect("builder-2", host, port)).not.toBe(0);
		});

		it.each([
			["the machine's own services", "127.0.0.1", 22],
			["the lender's network", "10.0.0.1", 80],
			["a metadata service", "169.254.169.254", 80],
		])("can't connect to %s as the user that builds on a remote builder", async (_, host, port) => {
			const rejected = async () => {
				const counter = await flathub.on("codethink-1", "nft", "list", "counter", "inet", "flathub", "build_rejected");
				return Number(/packets (\d+)/.exec(counter)?.[1]);
			};
			const before = await rejected();
			expect(await connect("codethink-1", host, port)).not.toBe(0);
			expect(await rejected()).toBeGreaterThan(before);
		});
	});

	describe("a stage of a build", () => {
		const source = readFileSync(join(projectDir, "test/stack/unit_attempts.py"), "utf8");

		it.each([
			["builder-2", "x86_64", []],
			// A lender's machine has the resolver that its owner likes.
			["codethink-1", "aarch64", ["ask the resolver"]],
		])("may less than its user on %s", async (machine, architecture, impossible) => {
			const { without, within } = JSON.parse(
				await flathub.on(machine, "python3", "-c", source, architecture),
			) as Record<"without" | "within", Record<string, boolean>>;
			// What the user can't do anyway would show nothing of the unit.
			const refused = Object.keys(without).filter((attempt) => !without[attempt]);
			expect(refused).toEqual(impossible);
			expect(Object.keys(within)).toEqual(Object.keys(without));
			expect(Object.keys(within).filter((attempt) => within[attempt])).toEqual([]);
		});
	});

	describe("the change hook", () => {
		const post = (body: string, headers: Record<string, string>) =>
			fetch(`http://${flathub.outputs.publicAddress}/builds/change_hook/github`, { method: "POST", body, headers });
		const push = {
			"content-type": "application/json",
			"x-github-event": "push",
			"x-github-delivery": "no-such-delivery",
		};

		it.each<[string, string, Record<string, string>, number[]]>([
			["unsigned", "{}", push, [400, 401, 403]],
			["wrongly signed", "{}", { ...push, "x-hub-signature-256": `sha256=${"0".repeat(64)}` }, [400, 401, 403]],
			["signed with sha1 only", "{}", { ...push, "x-hub-signature": `sha1=${"0".repeat(40)}` }, [400, 401, 403]],
			["huge", "x".repeat(6 * 1024 * 1024), push, [413]],
			["not JSON", "not JSON", { ...push, "x-hub-signature-256": "sha256=nonsense" }, [400, 401, 403]],
		])("refuses a delivery that is %s", async (_, body, headers, statuses) => {
			const response = await post(body, headers);
			expect(statuses).toContain(response.status);
		});
	});
}
