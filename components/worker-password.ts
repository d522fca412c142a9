import type * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";

/** A worker's password, made where both the worker and the master can be given it. */
export function workerPassword(worker: string, opts: pulumi.CustomResourceOptions): random.RandomPassword {
	return new random.RandomPassword(`${worker}-worker-password`, { length: 32, special: false }, opts);
}
