/** By these tags a resource is found again that a killed deployment made but did not record. */
export function tagsFor(stack: string, name: string): string[] {
	return [`stack=${stack}`, `name=${name}`];
}
