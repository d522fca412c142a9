import { afterAll, beforeAll } from "vitest";
import { architectureTests } from "./architectures.ts";
import { downTests } from "./down.ts";
import { flathub } from "./flathub.ts";
import { hostileTests } from "./hostile.ts";
import { networkTests } from "./network.ts";
import { powerTests } from "./power.ts";
import { pushTests } from "./push.ts";
import { remoteBuilderTests } from "./remote-builders.ts";
import { replacementTests } from "./replacement.ts";
import { type Residue, takeResidue } from "./residue.ts";
import { rotationTests } from "./rotation.ts";
import { schedulingTests } from "./scheduling.ts";
import { script } from "./script.ts";
import { secretTests } from "./secrets.ts";
import { upTests } from "./up.ts";

// The whole of Flathub on the local stack: one stack, brought up once, so the order counts.

let before: Residue;

beforeAll(async () => {
	// Whatever an interrupted run left; the stock is taken of a host without it.
	await script("down", "local");
	before = await takeResidue();
});

upTests();
secretTests();
networkTests();
pushTests();
architectureTests();
schedulingTests();
hostileTests();
powerTests();
rotationTests();
remoteBuilderTests();
replacementTests();
downTests(() => before);

afterAll(() => flathub?.access.close());
