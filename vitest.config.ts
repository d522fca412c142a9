import { defineConfig } from "vitest/config";

// unit: seconds, no root. stack: the whole of Flathub on the local stack, in one process, in the order of the files' names.
export default defineConfig({
	test: {
		// By default one core is left idle, which is half of a small machine.
		maxWorkers: "100%",
		projects: [
			{
				test: {
					name: "unit",
					include: [
						"test/**/*.test.ts",
						"operations/**/*.test.ts",
						"process/**/*.test.ts",
						"stacks/**/*.test.ts",
						"local/**/*.test.ts",
						"engine/**/*.test.ts",
					],
					exclude: ["**/node_modules/**", "test/host/**", "test/stack/**"],
					testTimeout: 20_000,
				},
			},
			{
				test: {
					name: "host",
					include: ["test/host/**/*.test.ts"],
					poolOptions: { forks: { singleFork: true } },
					testTimeout: 300_000,
					hookTimeout: 600_000,
				},
			},
			{
				test: {
					name: "stack",
					include: ["test/stack/**/*.test.ts"],
					poolOptions: { forks: { singleFork: true } },
					testTimeout: 600_000,
					hookTimeout: 1_800_000,
				},
			},
		],
	},
});
