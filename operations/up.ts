import { runCommand } from "./command.ts";
import { localUp } from "./local-flathub.ts";
import { openStack } from "./stack.ts";

await runCommand(async () => {
	const [stackName, ...rest] = process.argv.slice(2);
	if (stackName === undefined) throw new Error("Usage: scripts/up STACK, for example: scripts/up local");
	if (stackName === "local") {
		if (rest.length > 0) throw new Error(`scripts/up local takes no arguments, and got ${rest.join(" ")}.`);
		await localUp();
		return;
	}
	const stack = await openStack(stackName, console.log);
	const { exitCode } = await stack.pulumi(["up", ...rest, ...stack.configArguments], {
		interactive: true,
		mayFail: true,
	});
	process.exitCode = exitCode;
});
