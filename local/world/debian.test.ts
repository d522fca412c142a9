import { expect, it } from "vitest";
import { mirrorOf } from "./debian.ts";

it("finds the plain Debian archive among security's and others'", () => {
	const targets = [
		"Somebody|Somebody|Packages|https://packages.example/apt/",
		"Debian|Debian-Security|Packages|http://mirror.example/debian-security/",
		"Debian|Debian|DEP-11|http://mirror.example/other/",
		"Debian|Debian|Packages|http://mirror.example/debian",
	];
	expect(mirrorOf(targets.join("\n"))).toBe("http://mirror.example/debian/");
	expect(mirrorOf(targets.slice(0, 3).join("\n"))).toBeUndefined();
});
