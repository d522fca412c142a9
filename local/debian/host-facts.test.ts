import { describe, expect, it } from "vitest";
import { mirrorOf, pipConfiguration } from "./host-facts.ts";

it("finds the archive of a suite among other kinds of targets, suites and components", () => {
	const targets = [
		"bookworm|contrib|Packages|http://mirror.example/contrib/",
		"bookworm|main|DEP-11|http://mirror.example/other/",
		"bookworm|main|Packages|http://mirror.example/debian/",
		"bookworm-security|main|Packages|http://mirror.example/debian-security",
	].join("\n");
	expect(mirrorOf(targets, "bookworm")).toBe("http://mirror.example/debian");
	expect(mirrorOf(targets, "bookworm-security")).toBe("http://mirror.example/debian-security");
	expect(mirrorOf(targets, "trixie")).toBeUndefined();
});

describe("pipConfiguration", () => {
	it("keeps what a guest can use; the environment wins", () => {
		const listed =
			"global.index-url='https://a/simple'\n:env:.find-links='/opt/wheels'\nglobal.cert='/x.pem'\nglobal.default-timeout='180'";
		expect(pipConfiguration(listed, { PIP_INDEX_URL: "https://b/simple", PIP_FIND_LINKS: "/opt/wheels" })).toBe(
			"[global]\ncert = /etc/ssl/certs/ca-certificates.crt\nindex-url = https://b/simple\ntimeout = 180\n",
		);
	});
	it("says nothing of an index if the host has none of its own", () => {
		expect(pipConfiguration("", {})).toBe("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n");
	});
});
