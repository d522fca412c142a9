import { expect, it } from "vitest";
import { firstAddress } from "./plan.ts";

it.each([
	["10.17.0.0/24", { address: "10.17.0.1", prefixLength: 24, netmask: "255.255.255.0", network: "10.17.0.0" }],
	["172.16.4.0/22", { address: "172.16.4.1", prefixLength: 22, netmask: "255.255.252.0", network: "172.16.4.0" }],
])("%s", (cidr, expected) => {
	expect(firstAddress(cidr)).toEqual(expected);
});

it.each(["10.17.0.0", "10.17.0.0/30", "fd00::/64"])("refuses %s", (cidr) => {
	expect(() => firstAddress(cidr)).toThrow(`subnet "${cidr}": expected an IPv4 CIDR`);
});
