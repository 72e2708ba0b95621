// The requests that generate, with and without a session.
import * as parse from './parse.js'

/** @template T @typedef {import('./transport.js').Call<T>} Call */
/** Any field that the route honours (`max_tokens`, `temperature`, `seed`, `stop`, ...). @typedef {import('./types.js').Json} Fields */

/**
 * Continue `prompt` (text or token ids).
 * @param {string | ArrayLike<number>} prompt
 * @param {Fields} [fields]
 * @returns {Call<import('./types.js').Completion>}
 */
export function completionCall(prompt, fields) {
  return { method: 'POST', path: '/v1/completions', parse: parse.completion, json: { ...fields, prompt } }
}

/**
 * Answer a list of messages.
 * @param {import('./types.js').Message[]} messages
 * @param {Fields} [fields]
 * @returns {Call<import('./types.js').Completion>}
 */
export function chatCall(messages, fields) {
  return { method: 'POST', path: '/v1/chat/completions', parse: parse.completion, json: { ...fields, messages } }
}

/**
 * Return the same request with a streamed reply, whose last chunk has the usage.
 * @param {Call<import('./types.js').Completion>} call
 * @returns {Call<import('./types.js').Chunk>}
 */
export function streamed(call) {
  // Without this option a stream carries no usage.
  return { ...call, parse: parse.chunk, json: { ...call.json, stream: true, stream_options: { include_usage: true } } }
}
