import type * as pulumi from "@pulumi/pulumi";
import * as tls from "@pulumi/tls";

/**
 * The SSH key with which deployments log in. `scripts/deploy-key` makes it with a program of its own before there is anything
 * else: both have to make the same resource.
 */
export function makeDeployKey(opts: pulumi.ComponentResourceOptions = {}): tls.PrivateKey {
	return new tls.PrivateKey("deploy-key", { algorithm: "ED25519" }, opts);
}
