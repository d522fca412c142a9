import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { flows } from "../stacks/flows.ts";

/** UPDATE_GOLDEN=1 writes the table anew. */
const page = new URL("../docs/network.md", import.meta.url).pathname;

function networkPage(): string {
	const rows = flows.map(({ from, to, protocol, port, users, firstBootOnly, reason }) => {
		const limits = [
			...(users === undefined ? [] : [`users ${users.join(", ")} only`]),
			...(firstBootOnly ? ["until the first delivery"] : []),
		];
		const end = limits.length === 0 ? "" : ` (${limits.join("; ")})`;
		return `| ${from} | ${to} | ${protocol} ${port ?? "any"} | ${reason}${end} |`;
	});
	return `# Who may talk to whom

Made from \`stacks/flows.ts\`, from which the firewall of every machine and the security group are made as well. What is
not listed is dropped. "private" is every machine but front; "outside" is everything beyond the private network.

| from | to | port | why |
|---|---|---|---|
${rows.join("\n")}
`;
}

test("docs/network.md is the table of the flows", () => {
	if (process.env.UPDATE_GOLDEN) writeFileSync(page, networkPage());
	expect(readFileSync(page, "utf8")).toBe(networkPage());
});
