// The server's answers. Names of fields are those of the HTTP interface.

/**
 * A session and its memory. state_bytes is the same after one token and after a million. Times are
 * seconds since 1970; a null `expires_at` is never.
 * @typedef {object} Session
 * @property {string} id
 * @property {string} model
 * @property {number} created_at
 * @property {number} last_used_at
 * @property {number} num_tokens
 * @property {number} turn number of committed turns
 * @property {number} state_bytes
 * @property {number} snapshot_bytes of saved states
 * @property {number} history_bytes of the token log, which grows
 * @property {'device' | 'host' | 'store'} tier
 * @property {string | null} parent_id
 * @property {Record<string, string>} metadata
 * @property {number | null} expires_at
 * @property {boolean} pinned
 */

/**
 * @typedef {object} Turn
 * @property {number} turn
 * @property {number} created_at
 * @property {number} prompt_tokens
 * @property {number} completion_tokens
 * @property {number} num_tokens
 * @property {number} duration_seconds
 */

/**
 * @typedef {object} Snapshot
 * @property {number} turn
 * @property {number} num_tokens
 * @property {number} created_at
 * @property {number} nbytes
 */

/**
 * A session with its last turns and its named snapshots.
 * @typedef {Session & { turns: Turn[], snapshots: Record<string, Snapshot> }} SessionDetail
 */

/**
 * One page of sessions. For the next page, pass `last_id` as `after`.
 * @typedef {object} SessionList
 * @property {Session[]} data
 * @property {boolean} has_more
 * @property {string | null} last_id
 */

/**
 * Numbers of tokens. cached_tokens: tokens of the prompt that were already computed.
 * @typedef {object} Usage
 * @property {number} prompt_tokens
 * @property {number} completion_tokens
 * @property {number} cached_tokens
 */

/**
 * The session after a reply.
 * @typedef {object} SessionAfter
 * @property {string} id
 * @property {number} turn
 * @property {number} num_tokens
 * @property {number} state_bytes
 */

/**
 * A whole reply, of text or of chat. `raw` is the whole answer.
 * @typedef {object} Completion
 * @property {string} id
 * @property {string} text
 * @property {string | null} finish_reason stop, length, tool_calls, cancelled, timeout or abort
 * @property {Usage | null} usage
 * @property {SessionAfter | null} session
 * @property {Json} raw
 */

/**
 * A chunk of a streamed reply. text may be empty; the last chunks have finish_reason, session and usage.
 * @typedef {object} Chunk
 * @property {string} text
 * @property {string | null} finish_reason
 * @property {Usage | null} usage
 * @property {SessionAfter | null} session
 * @property {Json} raw
 */

/** @typedef {{ role: string, content: unknown, [field: string]: unknown }} Message */

/** @typedef {{ [field: string]: any }} Json */

/**
 * Options of one call. idempotencyKey: the server does a write with a key only once, so it is sent again
 * if its answer is lost.
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]
 * @property {string} [idempotencyKey]
 */

export {}
