/** `2026-06-23T09:41:02.450000+00:00`: how the instance API writes a date. */
export function instanceDate(iso: string): string {
	return iso.replace(/(\.\d{3})Z$/, "$1000+00:00");
}

/** `2026-06-23T09:41:02.450000Z`: how the other APIs do. */
export function date(iso: string): string {
	return iso.replace(/(\.\d{3})Z$/, "$1000Z");
}
