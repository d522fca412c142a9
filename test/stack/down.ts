import { describe, expect, it } from "vitest";
import { type Residue, takeResidue } from "./residue.ts";
import { script } from "./script.ts";

/** Nothing is left on the host. */
export function downTests(before: () => Residue): void {
	describe("scripts/down local", () => {
		it("leaves nothing behind", async () => {
			const down = await script("down", "local");
			expect([down.exitCode, down.all]).toEqual([0, expect.not.stringContaining("by force")]);
			expect(await takeResidue()).toEqual(before());
		}, 600_000);
	});
}
