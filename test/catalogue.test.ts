import { describe, expect, test } from "vitest";
import {
	currentMachineType,
	findMachineType,
	machineTypeNames,
	successionNotice,
	unknownMachineType,
} from "../stacks/catalogue.ts";

describe("machine types", () => {
	test.each(machineTypeNames)("%s leads to one on sale, of the same architecture, with at least its memory", (name) => {
		const asked = findMachineType(name);
		const used = currentMachineType(name);
		expect(used.successor).toBeUndefined();
		expect(used.hourlyEuro).not.toBeNull();
		expect(used.arch).toBe(asked?.arch);
		expect(used.ramGb).toBeGreaterThanOrEqual(asked?.ramGb ?? Number.POSITIVE_INFINITY);
	});

	test.each([
		["VC1S", "DEV1-S"],
		["VC1L", "DEV1-L"],
		["C2S", "POP2-HC-4C-8G"],
		["PRO2-XS", "PRO2-XS"],
	])("%s is bought as %s", (asked, used) => {
		expect(currentMachineType(asked).name).toBe(used);
	});

	test("a retired one is announced with what is used in its place", () => {
		expect(successionNotice("master", "VC1S")).toBe(
			"master: VC1S (2 vCPU, 2 GB) is retired, DEV1-S (2 vCPU, 2 GB, €6.55 a month) is used in its place",
		);
		expect(successionNotice("master", "DEV1-S")).toBeUndefined();
	});

	test("an unknown one is answered with those near it", () => {
		expect(unknownMachineType("vc1-s")).toBe("a machine type of Scaleway; near it: VC1S, GP1-S, VC1L");
		expect(() => currentMachineType("vc1-s")).toThrow("near it: VC1S");
	});
});
