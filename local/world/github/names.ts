import { z } from "zod";

/** A repository's owner or name as GitHub allows it; `.` and `..` and anything that could leave a folder are refused. */
export const nameSchema = z
	.string()
	.max(100)
	.regex(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/, "letters, digits, dot, dash and underscore");

/** A full commit id. */
export const shaSchema = z.string().regex(/^[0-9a-f]{40}$/, "40 hexadecimal digits");
