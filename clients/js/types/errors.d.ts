/**
 * Return the error class of an HTTP status of 400 or above.
 * @param {number} status
 * @returns {typeof StatusError}
 */
export function statusErrorClass(status: number): typeof StatusError;
/** Base of every error that this package throws on purpose. */
export class PararnnError extends Error {
    /** @param {string} message @param {ErrorOptions} [options] */
    constructor(message: string, options?: ErrorOptions);
}
/** The server was not reached, or its answer was lost. */
export class ConnectionFailed extends PararnnError {
    /** @param {string} message @param {{ requestSent: boolean, cause?: unknown }} fields */
    constructor(message: string, { requestSent, cause }: {
        requestSent: boolean;
        cause?: unknown;
    });
    /** False if the request certainly did not arrive, so that repeating it is safe. */
    requestSent: boolean;
}
/** The answer is not that of a pararnn-server. Check the address. */
export class InvalidReply extends PararnnError {
}
/**
 * A stream ended before its reply. The session is at its last committed turn. code: of the server's error,
 * null where the connection was cut.
 */
export class StreamFailed extends PararnnError {
    /** @param {string} message @param {{ code?: string | null, cause?: unknown }} [fields] */
    constructor(message: string, { code, cause }?: {
        code?: string | null;
        cause?: unknown;
    });
    code: string | null;
}
/**
 * @typedef {object} StatusFields
 * @property {number} status
 * @property {string | null} [kind]
 * @property {string | null} [code]
 * @property {string | null} [param]
 * @property {string | null} [requestId]
 * @property {number | null} [retryAfterMs]
 * @property {boolean | null} [shouldRetry]
 */
/** The server refused or failed. It has the HTTP status and the fields of the error body. */
export class StatusError extends PararnnError {
    /** @param {string} message @param {StatusFields} fields */
    constructor(message: string, fields: StatusFields);
    status: number;
    kind: string | null;
    code: string | null;
    param: string | null;
    requestId: string | null;
    /** Milliseconds to wait as the server's header says, null without that header. */
    retryAfterMs: number | null;
    /** Value of the header `x-should-retry`, null without it. */
    shouldRetry: boolean | null;
}
/** 400, 405, 413, 415: the request itself is wrong; `param` names the field. */
export class BadRequest extends StatusError {
}
/** 401: no key, or an unknown one. */
export class Unauthorized extends StatusError {
}
/** 404: it does not exist, or belongs to another key. */
export class NotFound extends StatusError {
}
/** 409: the session is busy, or is at another turn than expected. */
export class Conflict extends StatusError {
}
/** 410: the session has expired. */
export class Expired extends StatusError {
}
/** 429: the queue or a quota is full; `retryAfterMs` has the time to wait. */
export class TooManyRequests extends StatusError {
}
/** 500 and above: the server failed, is loading, or is draining. */
export class ServerFailed extends StatusError {
}
export type StatusFields = {
    status: number;
    kind?: string | null | undefined;
    code?: string | null | undefined;
    param?: string | null | undefined;
    requestId?: string | null | undefined;
    retryAfterMs?: number | null | undefined;
    shouldRetry?: boolean | null | undefined;
};
