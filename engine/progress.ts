/** Takes one line of progress, without a newline. */
export type Report = (line: string) => void;

/** A length of time for people: "0.4 s", "12 s", "4 min 40 s". */
export function duration(milliseconds: number): string {
	if (milliseconds < 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
	const seconds = Math.round(milliseconds / 1000);
	return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
