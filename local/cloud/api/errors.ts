/** An answer that is an error, in one of the shapes that Scaleway's APIs use. */
export class ApiError extends Error {
	constructor(
		readonly status: number,
		readonly body: { type: string; message: string } & Record<string, unknown>,
	) {
		super(body.message);
	}
}

export type Resource =
	| "instance_server"
	| "instance_volume"
	| "instance_ip"
	| "instance_private_nic"
	| "instance_security_group"
	| "instance_image"
	| "instance_user_data"
	| "local_image"
	| "volume"
	| "vpc"
	| "private_network"
	| "ip"
	| "ssh_key";

export function notFound(resource: Resource, id: string): ApiError {
	return new ApiError(404, { type: "not_found", message: "resource is not found", resource, resource_id: id });
}

export interface ArgumentProblem {
	argument_name: string;
	reason: "required" | "format" | "constraint" | "unknown";
	help_message: string;
}

export function invalidArguments(...details: ArgumentProblem[]): ApiError {
	return new ApiError(400, { type: "invalid_arguments", message: "invalid argument(s)", details });
}

export function invalidArgument(name: string, help: string): ApiError {
	return invalidArguments({ argument_name: name, reason: "constraint", help_message: help });
}

/** 400 for instances, 412 elsewhere, as recorded. */
export function preconditionFailed(status: 400 | 412, precondition: string, help: string): ApiError {
	return new ApiError(status, {
		type: "precondition_failed",
		message: "precondition is not respected",
		precondition,
		help_message: help,
	});
}

export function authenticationDenied(): ApiError {
	return new ApiError(401, {
		type: "denied_authentication",
		message: "authentication is denied",
		method: "api_key",
		reason: "not_found",
	});
}

/** Scaleway would do it, the local cloud does not. `what` names the method and path, or the part that is missing. */
export function notServed(what: string): ApiError {
	return new ApiError(501, { type: "not_implemented", message: `the local cloud does not serve ${what}` });
}

/** A record by id. */
export function find<T>(records: Record<string, T>, id: string, resource: Resource): T {
	const record = Object.hasOwn(records, id) ? records[id] : undefined;
	if (record === undefined) throw notFound(resource, id);
	return record;
}
