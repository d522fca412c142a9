import { z } from "zod";

const hookSchema = z.strictObject({
	/** Where pushes are announced. */
	url: z.url(),
	/** Signs the deliveries, as in GitHub's settings of a webhook. */
	secret: z.string().min(1),
});

export type Hook = z.infer<typeof hookSchema>;

/** What can change while the server runs. */
export const settingsSchema = z.strictObject({
	/** The one token that may push and set statuses. */
	token: z.string().min(1),
	/** The organisation's webhook; null: pushes are announced to nobody. */
	hook: hookSchema.nullable(),
});

export type Settings = z.infer<typeof settingsSchema>;

export const configurationSchema = z.strictObject({
	/** Bare repositories, statuses and deliveries are kept here. */
	stateDir: z.string().startsWith("/"),
	/** The address that payloads and API answers name, without a slash at the end. */
	publicUrl: z.url().refine((url) => !url.endsWith("/"), "must not end with a slash"),
	host: z.string().min(1),
	/** 0: any free one. */
	port: z.int().min(0).max(65535),
	/** Unix socket of the administration. */
	adminSocket: z.string().startsWith("/"),
	/** Host name → folder (path prefix → folder) that is served as it is. */
	sites: z.record(z.string(), z.record(z.string().startsWith("/"), z.string().startsWith("/"))),
	settings: settingsSchema,
});

export type Configuration = z.infer<typeof configurationSchema>;
