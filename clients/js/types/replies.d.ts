/** @template T @typedef {import('./transport.js').Call<T>} Call */
/** Any field that the route honours (`max_tokens`, `temperature`, `seed`, `stop`, ...). @typedef {import('./types.js').Json} Fields */
/**
 * Continue `prompt` (text or token ids).
 * @param {string | ArrayLike<number>} prompt
 * @param {Fields} [fields]
 * @returns {Call<import('./types.js').Completion>}
 */
export function completionCall(prompt: string | ArrayLike<number>, fields?: Fields): Call<import("./types.js").Completion>;
/**
 * Answer a list of messages.
 * @param {import('./types.js').Message[]} messages
 * @param {Fields} [fields]
 * @returns {Call<import('./types.js').Completion>}
 */
export function chatCall(messages: import("./types.js").Message[], fields?: Fields): Call<import("./types.js").Completion>;
/**
 * Return the same request with a streamed reply, whose last chunk has the usage.
 * @param {Call<import('./types.js').Completion>} call
 * @returns {Call<import('./types.js').Chunk>}
 */
export function streamed(call: Call<import("./types.js").Completion>): Call<import("./types.js").Chunk>;
export type Call<T> = import("./transport.js").Call<T>;
/**
 * Any field that the route honours (`max_tokens`, `temperature`, `seed`, `stop`, ...).
 */
export type Fields = import("./types.js").Json;
