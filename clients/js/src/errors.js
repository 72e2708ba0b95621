// The errors of this package, one tree under `PararnnError`.

/** Base of every error that this package throws on purpose. */
export class PararnnError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options)
    this.name = new.target.name
  }
}

/** The server was not reached, or its answer was lost. */
export class ConnectionFailed extends PararnnError {
  /** @param {string} message @param {{ requestSent: boolean, cause?: unknown }} fields */
  constructor(message, { requestSent, cause }) {
    super(message, { cause })
    /** False if the request certainly did not arrive, so that repeating it is safe. */
    this.requestSent = requestSent
  }
}

/** The answer is not that of a pararnn-server. Check the address. */
export class InvalidReply extends PararnnError {}

/**
 * A stream ended before its reply. The session is at its last committed turn. code: of the server's error,
 * null where the connection was cut.
 */
export class StreamFailed extends PararnnError {
  /** @param {string} message @param {{ code?: string | null, cause?: unknown }} [fields] */
  constructor(message, { code = null, cause } = {}) {
    super(message, { cause })
    this.code = code
  }
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
  constructor(message, fields) {
    super(message)
    this.status = fields.status
    this.kind = fields.kind ?? null
    this.code = fields.code ?? null
    this.param = fields.param ?? null
    this.requestId = fields.requestId ?? null
    /** Milliseconds to wait as the server's header says, null without that header. */
    this.retryAfterMs = fields.retryAfterMs ?? null
    /** Value of the header `x-should-retry`, null without it. */
    this.shouldRetry = fields.shouldRetry ?? null
  }
}

/** 400, 405, 413, 415: the request itself is wrong; `param` names the field. */
export class BadRequest extends StatusError {}

/** 401: no key, or an unknown one. */
export class Unauthorized extends StatusError {}

/** 404: it does not exist, or belongs to another key. */
export class NotFound extends StatusError {}

/** 409: the session is busy, or is at another turn than expected. */
export class Conflict extends StatusError {}

/** 410: the session has expired. */
export class Expired extends StatusError {}

/** 429: the queue or a quota is full; `retryAfterMs` has the time to wait. */
export class TooManyRequests extends StatusError {}

/** 500 and above: the server failed, is loading, or is draining. */
export class ServerFailed extends StatusError {}

/** @type {Map<number, typeof StatusError>} */
const BY_STATUS = new Map([
  [401, Unauthorized],
  [404, NotFound],
  [409, Conflict],
  [410, Expired],
  [429, TooManyRequests],
])

/**
 * Return the error class of an HTTP status of 400 or above.
 * @param {number} status
 * @returns {typeof StatusError}
 */
export function statusErrorClass(status) {
  if (status >= 500) return ServerFailed
  return BY_STATUS.get(status) ?? BadRequest
}
