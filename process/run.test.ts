import { describe, expect, it } from "vitest";
import { attempt, run } from "./run.ts";

const shell = (script: string) => ["sh", "-c", script];

describe("run", () => {
	it("gives the output, and hands on input, environment and folder", async () => {
		// biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's.
		const script = 'read -r line; echo "$line $NAME ${HOME-no home} $PWD"; echo warning >&2';
		const env = { PATH: process.env.PATH, NAME: "name" };
		const finished = await run(shell(script), { input: "input\n", env, cwd: "/" });
		expect(finished).toEqual({ exitCode: 0, stdout: "input name no home /", stderr: "warning" });
	});
	it("tells lines as they come", async () => {
		const lines: string[] = [];
		await run(shell("echo one; echo; echo two"), { onLine: (line) => lines.push(line) });
		expect(lines).toEqual(["one", "two"]);
	});
	it("says what failed, how, and what it printed", async () => {
		await expect(run(shell("echo half; echo broken >&2; exit 3"))).rejects.toThrow(/exit code 3\nhalf\nbroken$/);
		await expect(run(shell("kill -9 $$"))).rejects.toThrow("ended by SIGKILL");
		await expect(run(["no-such-program"], { mayFail: true })).rejects.toThrow(
			"no-such-program: could not be started: it is not installed",
		);
	});
	it("takes a non-zero exit code for an answer if it may fail", async () => {
		expect(await run(shell("echo half; exit 3"), { mayFail: true })).toMatchObject({ exitCode: 3, stdout: "half" });
		expect(await attempt(shell("exit 3"))).toBeUndefined();
		expect(await attempt(["no-such-program"])).toBeUndefined();
	});
	it("ends a program that takes too long with all that it started", async () => {
		// What holds the output open would keep run() waiting, and the test with it.
		await expect(run(shell("sleep 60 & sleep 60"), { timeoutSeconds: 0.3 })).rejects.toThrow("after 0.3 s");
	});
});
