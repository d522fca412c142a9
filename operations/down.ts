import { runCommand } from "./command.ts";
import { localDown } from "./local-flathub.ts";

await runCommand(async () => {
	const [stackName, ...rest] = process.argv.slice(2);
	if (stackName !== "local" || rest.length > 0) {
		throw new Error(
			"Usage: scripts/down local. Another stack is taken down with `pulumi destroy`, on purpose without a script.",
		);
	}
	await localDown();
});
