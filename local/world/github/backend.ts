import { spawn } from "node:child_process";
import { dirname } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import { GIT_ENVIRONMENT } from "./repositories.ts";

export interface BackendRequest {
	/** Folder of the bare repository. */
	directory: string;
	/** What follows the repository in the path: `info/refs`, `git-upload-pack`, `git-receive-pack`, or a file of it. */
	service: string;
	method: string;
	query: string;
	headers: { contentType?: string | undefined; contentEncoding?: string | undefined; protocol?: string | undefined };
	/** Who may push; undefined: nobody. */
	user?: string;
	body: Readable | undefined;
}

export interface BackendResponse {
	status: number;
	headers: [string, string][];
	body: Readable;
	/** Ends when git http-backend did. */
	finished: Promise<void>;
}

/** Answer a git smart HTTP request by git's own CGI program. */
export function runBackend(request: BackendRequest): Promise<BackendResponse> {
	const root = dirname(request.directory);
	const child = spawn("git", ["http-backend"], {
		stdio: ["pipe", "pipe", "inherit"],
		env: {
			PATH: process.env.PATH,
			...GIT_ENVIRONMENT,
			GIT_PROJECT_ROOT: root,
			GIT_HTTP_EXPORT_ALL: "1",
			PATH_INFO: `${request.directory.slice(root.length)}/${request.service}`,
			REQUEST_METHOD: request.method,
			QUERY_STRING: request.query,
			CONTENT_TYPE: request.headers.contentType ?? "",
			REMOTE_ADDR: "127.0.0.1",
			...(request.headers.contentEncoding && { HTTP_CONTENT_ENCODING: request.headers.contentEncoding }),
			...(request.headers.protocol && { GIT_PROTOCOL: request.headers.protocol }),
			// git allows a push only to a named user.
			...(request.user && { REMOTE_USER: request.user }),
		},
	});
	child.stdin.on("error", () => {
		// git may answer without reading all of it; its answer says what happened.
	});
	if (request.body) request.body.pipe(child.stdin);
	else child.stdin.end();
	const finished = new Promise<void>((resolve) => child.once("close", () => resolve()));
	return new Promise((resolve, reject) => {
		child.once("error", reject);
		let head = Buffer.alloc(0);
		const onData = (chunk: Buffer) => {
			head = Buffer.concat([head, chunk]);
			const end = head.indexOf("\r\n\r\n");
			if (end < 0) return;
			child.stdout.off("data", onData);
			const body = new PassThrough();
			// A client that went away leaves git with nobody to write to.
			body.once("close", () => child.kill());
			body.write(head.subarray(end + 4));
			child.stdout.pipe(body);
			resolve({ ...parseHead(head.subarray(0, end).toString("latin1")), body, finished });
		};
		child.stdout.on("data", onData);
		child.stdout.once("end", () => reject(new Error("git http-backend ended without an answer")));
	});
}

function parseHead(head: string): { status: number; headers: [string, string][] } {
	let status = 200;
	const headers: [string, string][] = [];
	for (const line of head.split("\r\n")) {
		const colon = line.indexOf(":");
		const [name, value] = [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
		if (name.toLowerCase() === "status") status = Number.parseInt(value, 10);
		else headers.push([name, value]);
	}
	return { status, headers };
}
