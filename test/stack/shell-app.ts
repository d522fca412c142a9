import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectDir } from "../../project-dir.ts";

const shell = "org.flathub.test.Shell";

/** The shell-only sample app under another id: path → content. */
export function shellApp(id: string): Record<string, string | Uint8Array> {
	const read = (name: string) => readFileSync(join(projectDir, "local/world/apps", shell, name));
	return {
		"greet.sh": read("greet.sh"),
		[`${id}.png`]: read(`${shell}.png`),
		...Object.fromEntries(
			["json", "desktop", "metainfo.xml"].map((suffix) => [
				`${id}.${suffix}`,
				read(`${shell}.${suffix}`).toString().replaceAll(shell, id),
			]),
		),
	};
}
