import { openAccess } from "./access.ts";
import { runCommand } from "./command.ts";
import { openStack } from "./stack.ts";

await runCommand(async () => {
	const [stackName, machine, ...command] = process.argv.slice(2);
	if (stackName === undefined || machine === undefined) {
		throw new Error("Usage: scripts/ssh STACK MACHINE [COMMAND…]");
	}
	const access = openAccess(await (await openStack(stackName)).outputs());
	try {
		const { exitCode } = await access.ssh(machine, command, { interactive: true, mayFail: true });
		process.exitCode = exitCode;
	} finally {
		access.close();
	}
});
