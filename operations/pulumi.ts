import { runCommand } from "./command.ts";
import { openStack } from "./stack.ts";

/** Commands that read or write the stack's configuration, and so take --config-file. */
const configured = new Set(["preview", "up", "destroy", "refresh", "config", "watch"]);

await runCommand(async () => {
	const [stackName, ...args] = process.argv.slice(2);
	const [command] = args;
	if (stackName === undefined || command === undefined) {
		throw new Error("Usage: scripts/pulumi STACK COMMAND [ARGUMENT…], for example: scripts/pulumi local preview");
	}
	const stack = await openStack(stackName);
	const more = configured.has(command) ? stack.configArguments : ["--stack", stackName];
	const { exitCode } = await stack.pulumi([...args, ...more], { interactive: true, mayFail: true });
	process.exitCode = exitCode;
});
