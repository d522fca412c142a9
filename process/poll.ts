import { setTimeout as pause } from "node:timers/promises";

/**
 * Asks again and again until the probe answers something other than undefined.
 *
 * @param condition what is waited for, as the object of "waited for …"
 * @param deadlineSeconds after which it fails
 * @param probe may throw: the last error becomes part of the message
 * @param intervalSeconds from one question to the next
 * @throws Error that names the condition, the time and the last error
 */
export async function poll<T>(
	condition: string,
	deadlineSeconds: number,
	probe: () => Promise<T | undefined> | T | undefined,
	intervalSeconds = 0.5,
): Promise<T> {
	const end = Date.now() + deadlineSeconds * 1000;
	for (;;) {
		let last = "";
		try {
			const answer = await probe();
			if (answer !== undefined) return answer;
		} catch (error) {
			last = `: ${error instanceof Error ? error.message : String(error)}`;
		}
		if (Date.now() >= end) throw new Error(`Waited ${deadlineSeconds} s in vain for ${condition}${last}`);
		await pause(intervalSeconds * 1000);
	}
}
