// Reading of the server's JSON. Unexpected JSON throws InvalidReply.
import { InvalidReply } from './errors.js'

/** @typedef {import('./types.js').Json} Json */

/** @param {unknown} value @returns {value is Json} */
export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

/** @param {unknown} body @returns {Json} */
export function jsonObject(body) {
  if (!isObject(body)) throw new InvalidReply('the server answered with JSON that is not an object')
  return body
}

/** @param {unknown} body @returns {import('./types.js').SessionDetail} */
export function session(body) {
  const read = jsonObject(body)
  if (typeof read.id !== 'string' || typeof read.num_tokens !== 'number' || typeof read.turn !== 'number') {
    throw new InvalidReply("the server's session object does not fit")
  }
  return /** @type {import('./types.js').SessionDetail} */ (read)
}

/** @param {unknown} body @returns {import('./types.js').SessionList} */
export function sessionList(body) {
  const read = jsonObject(body)
  const data = list(read, 'data').map(session)
  return { ...read, data, has_more: Boolean(read.has_more), last_id: data.at(-1)?.id ?? null }
}

/** @param {unknown} body @returns {import('./types.js').Completion} */
export function completion(body) {
  const read = jsonObject(body)
  const choice = list(read, 'choices')[0]
  if (!isObject(choice)) throw new InvalidReply("the server's reply has no choices")
  return { id: String(read.id ?? ''), text: text(choice, 'message'), ...rest(choice, read) }
}

/** Read a chunk of a stream. A chunk without choices has only usage. @param {unknown} body @returns {import('./types.js').Chunk} */
export function chunk(body) {
  const read = jsonObject(body)
  const choice = list(read, 'choices')[0] ?? {}
  return { text: text(choice, 'delta'), ...rest(choice, read) }
}

/** @param {Json} choice @param {Json} body */
function rest(choice, body) {
  /** @type {import('./types.js').SessionAfter | null} */
  const after = choice.session ?? body.session ?? null
  /** @type {string | null} */
  const finish = choice.finish_reason ?? null
  return { finish_reason: finish, usage: usage(body.usage), session: after, raw: body }
}

/** @param {unknown} counts @returns {import('./types.js').Usage | null} */
function usage(counts) {
  if (!isObject(counts)) return null
  return {
    prompt_tokens: Number(counts.prompt_tokens ?? 0),
    completion_tokens: Number(counts.completion_tokens ?? 0),
    cached_tokens: Number(counts.prompt_tokens_details?.cached_tokens ?? 0),
  }
}

/** @param {Json} choice @param {'message' | 'delta'} member @returns {string} */
function text(choice, member) {
  // The content of a chat message may be null.
  return (isObject(choice[member]) ? choice[member].content : choice.text) ?? ''
}

/** @param {Json} body @param {string} name @returns {any[]} */
function list(body, name) {
  if (!Array.isArray(body[name])) throw new InvalidReply(`the server's reply has no list '${name}'`)
  return body[name]
}
