import { z } from "zod";

/** The part of a list's query that says which of its items to give. */
export const pageSchema = z.object({
	per_page: z.coerce.number().int().min(1).max(100).default(30),
	page: z.coerce.number().int().min(1).default(1),
});

/** One page of a list, and the Link header that names the others as GitHub does; undefined: there are none. */
export function pageOf<T>(
	items: readonly T[],
	{ per_page: size, page }: z.infer<typeof pageSchema>,
	url: URL,
): { items: T[]; link: string | undefined } {
	const last = Math.max(1, Math.ceil(items.length / size));
	const link = (rel: string, number: number) => {
		const target = new URL(url);
		target.searchParams.set("page", String(number));
		return `<${target}>; rel="${rel}"`;
	};
	const links = [
		...(page > 1 ? [link("prev", page - 1), link("first", 1)] : []),
		...(page < last ? [link("next", page + 1), link("last", last)] : []),
	];
	return {
		items: items.slice(size * (page - 1), size * page),
		link: links.length > 0 ? links.join(", ") : undefined,
	};
}
