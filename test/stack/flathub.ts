import { Buildbot } from "../../local/world/buildbot.ts";
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
	buildbot: Buildbot;
	/** Standard output of a command on a machine; throws if it fails. */
	on(machine: string, ...command: string[]): Promise<string>;
}

/** The one that the tests work on, once `reopen` was called. */
export let flathub: Flathub;

/** Takes up the stack as it is now: after an `up`, and after a machine was replaced. */
export async function reopen(): Promise<void> {
	flathub?.access.close();
	flathub = await openFlathub();
}

async function openFlathub(): Promise<Flathub> {
	const stack = await openStack("local");
	const outputs = await stack.outputs();
	const access = openAccess(outputs);
	return {
		stack,
		outputs,
		access,
		world: await openWorld(stack),
		buildbot: new Buildbot(outputs.publicAddress),
		on: async (machine, ...command) => (await access.ssh(machine, command)).stdout,
	};
}

/** Waits until the commit's status in a context is final; answers its state. */
export async function finalStatus(
	world: World,
	app: string,
	commit: string,
	context: string,
	deadlineSeconds = 1200,
): Promise<string> {
	return poll(`the status ${context} of ${app} ${commit.slice(0, 8)}`, deadlineSeconds, async () => {
		const status = (await world.statuses(app, commit)).find((one) => one.context === context);
		return status === undefined || status.state === "pending" ? undefined : status.state;
	});
}
