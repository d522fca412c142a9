import * as pulumi from "@pulumi/pulumi";
import { parseConfig, readConfig } from "./stacks/config.ts";
import { deployFlathub } from "./stacks/flathub.ts";

const config = parseConfig(readConfig(pulumi.runtime.allConfig()));
const flathub = deployFlathub(config, { stack: pulumi.getStack() });

/** Front's public address: the only way in, for users, webhooks and SSH. */
export const publicAddress = flathub.publicAddress;
export const publicUrl = flathub.publicUrl;
/** By name: the address on the private network and the server's id at Scaleway. */
export const machines = flathub.machines;
/** By name: where the builders are that Pulumi did not make. */
export const remoteBuilders = flathub.remoteBuilders;
/** The private key that root on every machine accepts, in OpenSSH's format. */
export const deployKey = flathub.deployKey;
/** By name: what a machine's sshd must present, as in known_hosts. */
export const hostKeys = flathub.hostKeys;
/** To be set as the secret of the organisation's webhook on GitHub. */
export const changeHookSecret = flathub.changeHookSecret;
