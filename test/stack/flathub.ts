import type { World } from "../../local/world/world.ts";
import { type Access, openAccess } from "../../operations/access.ts";
import { openWorld } from "../../operations/local-flathub.ts";
import { openStack, type Stack, type StackOutputs } from "../../operations/stack.ts";
import { poll } from "../../process/poll.ts";

/** The running local Flathub, as the tests see it. */
export interface Flathub {
	stack: Stack;
	outputs: StackOutputs;
	access: Access;
	world: World;
	/** Standard output of a command on a machine; throws if it fails. */
	on(machine: string, ...command: string[]): Promise<string>;
}

export async function openFlathub(): Promise<Flathub> {
	const stack = await openStack("local");
	const outputs = await stack.outputs();
	const access = openAccess(outputs);
	return {
		stack,
		outputs,
		access,
		world: await openWorld(stack),
		on: async (machine, ...command) => (await access.ssh(machine, command)).stdout,
	};
}

/** Waits until the commit's status in a context is final; answers its state. */
export async function finalStatus(world: World, app: string, commit: string, context: string): Promise<string> {
	return poll(`the status ${context} of ${app} ${commit.slice(0, 8)}`, 1200, async () => {
		const status = (await world.statuses(app, commit)).find((one) => one.context === context);
		return status === undefined || status.state === "pending" ? undefined : status.state;
	});
}
