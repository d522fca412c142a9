import { describe, expect, test } from "vitest";
import { replacementPolicy } from "../stacks/replacement.ts";

const firstBoot = ["userData", "image"];

describe("replacement policy", () => {
	test.each(["builder", "front"] as const)("a %s is replaced when its first boot changes", (role) => {
		expect(replacementPolicy(role, true).server).toEqual({
			deleteBeforeReplace: true,
			replaceOnChanges: firstBoot,
			ignoreChanges: [],
		});
	});

	test.each(["master", "repo"] as const)("a %s is replaced on purpose only", (role) => {
		expect(replacementPolicy(role, true).server).toEqual({
			deleteBeforeReplace: true,
			replaceOnChanges: [],
			ignoreChanges: firstBoot,
		});
	});

	test.each([
		["master", true, false],
		["repo", true, false],
		["front", true, true],
		["builder", false, false],
	] as const)("what of a %s is protected where the stack protects", (role, volume, address) => {
		expect(replacementPolicy(role, true)).toMatchObject({ protectDataVolume: volume, protectPublicAddress: address });
		expect(replacementPolicy(role, false)).toMatchObject({ protectDataVolume: false, protectPublicAddress: false });
	});
});
