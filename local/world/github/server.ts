import { readFileSync, rmSync } from "node:fs";
import { z } from "zod";
import { createGitHub } from "./app.ts";
import { configurationSchema } from "./options.ts";

const [file] = process.argv.slice(2);
if (file === undefined) {
	console.error("usage: node --import tsx local/world/github/server.ts CONFIGURATION.json");
	process.exit(2);
}
const parsed = configurationSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
if (!parsed.success) {
	console.error(`${file}: ${z.prettifyError(parsed.error)}`);
	process.exit(2);
}
const configuration = parsed.data;
const github = createGitHub(configuration);
for (const signal of ["SIGTERM", "SIGINT"] as const) {
	process.once(signal, () => {
		void github.close().then(() => process.exit(0));
	});
}
await github.public.listen({ host: configuration.host, port: configuration.port });
rmSync(configuration.adminSocket, { force: true });
await github.admin.listen({ path: configuration.adminSocket });
console.log(
	`${new Date().toISOString()} serves ${configuration.publicUrl} on ${configuration.host}:${configuration.port}`,
);
