import { runCommand } from "./command.ts";
import { unlockLocalSigning } from "./local-flathub.ts";
import { openStack, serverUrn } from "./stack.ts";

await runCommand(async () => {
	const [stackName, machine, ...rest] = process.argv.slice(2);
	if (stackName === undefined || machine === undefined || rest.length > 0) {
		throw new Error("Usage: scripts/replace STACK MACHINE");
	}
	const stack = await openStack(stackName, console.log);
	const urn = serverUrn(await stack.resources(), machine);
	const yes = stackName === "local" ? ["--yes", "--skip-preview"] : [];
	const { exitCode } = await stack.pulumi(["up", "--replace", urn, ...yes, ...stack.configArguments], {
		interactive: true,
		mayFail: true,
	});
	if (exitCode === 0 && stackName === "local") await unlockLocalSigning(stack);
	process.exitCode = exitCode;
});
