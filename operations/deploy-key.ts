import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { projectDir } from "../project-dir.ts";
import { runCommand } from "./command.ts";
import { openStack, type Stack, type StackResource } from "./stack.ts";

// As in stacks/deploy-key.ts, which is not imported: it would load all of Pulumi's SDK.
const type = "tls:index/privateKey:PrivateKey";
const deployKeyName = "deploy-key";

/**
 * The public half of the SSH key with which a stack's deployments log in, as a line of authorized_keys: what whoever lends
 * a remote builder has to let in. If the stack has none yet, it is made, and nothing else is changed.
 *
 * @throws Error with Pulumi's output if it can't be made
 */
export async function deployKey(stack: Pick<Stack, "name" | "configFile" | "pulumi" | "resources">): Promise<string> {
	const known = publicKey(await stack.resources());
	if (known !== undefined) return known;
	const urn = `urn:pulumi:${stack.name}::flathub::${type}::${deployKeyName}`;
	await stack.pulumi([
		...["--cwd", join(projectDir, "operations/deploy-key-program"), "up", "--stack", stack.name],
		// Without the target everything that is not part of that program would be removed.
		...["--config-file", stack.configFile, "--target", urn],
		...["--yes", "--skip-preview", "--suppress-outputs", "--color", "never"],
	]);
	const made = publicKey(await stack.resources());
	if (made === undefined) throw new Error(`Stack ${stack.name}: pulumi up made no ${deployKeyName} (${urn}).`);
	return made;
}

function publicKey(resources: readonly StackResource[]): string | undefined {
	const found = resources.find((resource) => resource.type === type && resource.urn.endsWith(`::${deployKeyName}`));
	return z.string().optional().parse(found?.outputs?.publicKeyOpenssh)?.trim();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
	await runCommand(async () => {
		const [stackName, ...rest] = process.argv.slice(2);
		if (stackName === undefined || rest.length > 0) {
			throw new Error("Usage: scripts/deploy-key STACK, for example: scripts/deploy-key prod");
		}
		console.log(await deployKey(await openStack(stackName, console.error)));
	});
}
