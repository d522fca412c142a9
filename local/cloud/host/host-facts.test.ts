import { describe, expect, it } from "vitest";
import { parseDeb822, parseOneLine, pipConfiguration } from "./host-facts.ts";

describe("apt sources", () => {
	it("one-line form, with options and comments", () => {
		const text =
			"# deb http://old/debian bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main contrib # x\n";
		expect(parseOneLine(text)).toEqual([
			{ uri: "http://m/debian", suites: ["bookworm"], components: ["main", "contrib"] },
		]);
	});
	it("deb822 form, with comments, continuation lines and disabled stanzas", () => {
		const text = `Types: deb deb-src
# http://snapshot/
URIs: http://m/debian
Suites: bookworm
 bookworm-updates
Components: main

Types: deb
Enabled: no
URIs: http://n/debian
Suites: bookworm
Components: main
`;
		expect(parseDeb822(text)).toEqual([
			{ uri: "http://m/debian", suites: ["bookworm", "bookworm-updates"], components: ["main"] },
		]);
	});
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
