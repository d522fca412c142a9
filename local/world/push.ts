import { parseArgs } from "node:util";
import { localSettings } from "../settings.ts";
import { createWorld, sampleApps } from "./world.ts";

const { values, positionals } = parseArgs({
	allowPositionals: true,
	options: { branch: { type: "string" }, broken: { type: "boolean", default: false }, help: { type: "boolean" } },
});
const [app, ...rest] = positionals;
if (values.help || app === undefined || rest.length > 0) {
	console.error("usage: scripts/push APP [--branch BRANCH] [--broken]");
	console.error(`APP is a sample app: ${(await sampleApps()).join(", ")}`);
	process.exit(values.help ? 0 : 2);
}
// The rest of the world's options matter only to one that is being started.
const world = createWorld({ ...localSettings(), frontAddress: "", webhookUrl: "", webhookSecret: "", githubToken: "" });
try {
	const { commit } = await world.pushSample(app, {
		broken: values.broken,
		...(values.branch !== undefined && { branch: values.branch }),
	});
	console.log(`pushed ${commit} to http://github.test/flathub/${app}, branch ${values.branch ?? "master"}`);
} catch (error) {
	console.error((error as Error).message);
	process.exit(1);
}
