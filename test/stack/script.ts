import { execa } from "execa";
import { projectDir } from "../../project-dir.ts";

/** Runs one of `scripts/` to its end; a failure is an answer. */
export const script = (name: string, ...args: string[]) =>
	execa(`./scripts/${name}`, args, { cwd: projectDir, all: true, reject: false, stdin: "ignore" });

/** What a script said if it failed, else nothing. */
export const failureOf = ({ exitCode, all }: { exitCode?: number | undefined; all?: string | undefined }): string =>
	exitCode === 0 ? "" : `exit code ${exitCode}: ${all}`;
