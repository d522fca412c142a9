import { execFileSync } from "node:child_process";
import {
	chmodSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	statSync,
	symlinkSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ReleaseFile, releaseFiles, tar, writeBundle } from "../stacks/bundle.ts";

let folder: string;

beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "flathub-bundle-"));
});
afterEach(() => {
	rmSync(folder, { recursive: true, force: true });
});

function file(path: string, content = path, executable = false): ReleaseFile {
	return { path, content: Buffer.from(content), executable };
}

describe("a bundle's tar", () => {
	test("is unpacked by tar with contents, modes and owners, and without times", () => {
		const long = `role/${"deep/".repeat(30)}file`;
		const archive = tar([
			file("deliver.py", "x".repeat(1000), true),
			file("role/empty", ""),
			file(long, "512".repeat(512)),
		]);
		execFileSync("tar", ["-xf", "-", "-C", folder], { input: archive });
		expect(readFileSync(join(folder, "deliver.py"), "utf8")).toBe("x".repeat(1000));
		expect(readFileSync(join(folder, "role/empty"), "utf8")).toBe("");
		expect(readFileSync(join(folder, long), "utf8")).toBe("512".repeat(512));
		expect(statSync(join(folder, "deliver.py")).mode & 0o777).toBe(0o755);
		expect(statSync(join(folder, "role/empty")).mode & 0o777).toBe(0o644);
		expect(statSync(join(folder, "deliver.py")).mtimeMs).toBe(0);
		const list = execFileSync("tar", ["-tvf", "-"], { input: archive, encoding: "utf8" });
		for (const line of list.trim().split("\n")) expect(line).toContain("root/root");
	});

	test("depends on nothing but paths, contents and executable bits", () => {
		const files = [file("a"), file("b/c"), file("b/d")];
		expect(tar(files.toReversed())).toEqual(tar(files));
		expect(tar([file("a", "b")])).not.toEqual(tar([file("a")]));
		expect(tar([file("a", "a", true)])).not.toEqual(tar([file("a")]));
	});

	test("the same path twice, and one too long, are refused", () => {
		expect(() => tar([file("a"), file("a")])).toThrow("a is in the release twice");
		expect(() => tar([file("x".repeat(101))])).toThrow("is too long for a tar of a release");
	});
});

describe("a service's folder", () => {
	test("is taken as it is but for tests and what they leave behind", () => {
		for (const name of ["units", "__pycache__", "tests"]) mkdirSync(join(folder, name));
		for (const name of ["check", "units/x.service", "publish.py", "publish_test.py", "tests/x", "__pycache__/x.pyc"]) {
			writeFileSync(join(folder, name), name);
		}
		for (const name of ["conftest.py", "requirements.in", "requirements.txt", ".hidden"]) {
			writeFileSync(join(folder, name), name);
		}
		chmodSync(join(folder, "check"), 0o755);
		expect(
			releaseFiles(folder, "role")
				.map(({ path, executable }) => [path, executable])
				.sort(),
		).toEqual([
			["role/check", true],
			["role/publish.py", false],
			["role/requirements.txt", false],
			["role/units/x.service", false],
		]);
	});

	test("a changed time changes nothing", () => {
		writeFileSync(join(folder, "check"), "x");
		const before = tar(releaseFiles(folder, "role"));
		utimesSync(join(folder, "check"), 1, 1);
		expect(tar(releaseFiles(folder, "role"))).toEqual(before);
	});

	test("a link can't be delivered", () => {
		symlinkSync("/etc/passwd", join(folder, "link"));
		expect(() => releaseFiles(folder, "role")).toThrow("link is neither a file nor a folder");
	});
});

test("a bundle is written under its content's hash", () => {
	const bundle = writeBundle("bundle-test", [file("a")]);
	try {
		expect(bundle.path).toBe(`.deliveries/bundle-test-${bundle.release}.tar`);
		const sum = execFileSync("sha256sum", [bundle.path], { encoding: "utf8" });
		expect(sum.split(" ")[0]).toBe(bundle.sha256);
		expect(bundle.sha256.startsWith(bundle.release)).toBe(true);
		utimesSync(bundle.path, 1, 1);
		const next = writeBundle("bundle-test", [file("b")]);
		expect([existsSync(bundle.path), existsSync(next.path)]).toEqual([false, true]);
		rmSync(next.path);
	} finally {
		rmSync(bundle.path, { force: true });
	}
});
