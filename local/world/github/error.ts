/** An error answered as GitHub's API answers it: `{message, errors?}` with a status code. */
export class ApiError extends Error {
	readonly statusCode: number;
	readonly errors: unknown[] | undefined;

	constructor(statusCode: number, message: string, errors?: unknown[]) {
		super(message);
		this.statusCode = statusCode;
		this.errors = errors;
	}
}
