// The calls on sessions.
import * as parse from './parse.js'
import { chatCall, completionCall, streamed } from './replies.js'
import { Stream } from './stream.js'

/** @typedef {import('./types.js').CallOptions} CallOptions */
/** @typedef {import('./types.js').Session} Session */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./replies.js').Fields} Fields */
/** @typedef {{ metadata?: Record<string, string>, ttl_seconds?: number, model?: string }} Kept */
/** @typedef {BodyInit} File bytes, a Blob or a file of a form */

/** An id with a slash or a question mark must not name another route. @param {string} id @param {string} [verb] */
const path = (id, verb = '') => `/v1/sessions/${encodeURIComponent(id)}${verb}`

/** `client.sessions`. */
export class Sessions {
  #transport

  /** @param {import('./transport.js').Transport} transport */
  constructor(transport) {
    this.#transport = transport
  }

  /**
   * Create a session. text, tokens: read at once.
   * @param {Kept & { text?: string, tokens?: ArrayLike<number> }} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  create(fields = {}, options) {
    // Not repeatable: if the answer is lost, a second request would make a second session.
    return this.#post('', fields, options)
  }

  /**
   * Return a page of this key's sessions. after: the last id of the page before.
   * @param {{ limit?: number, after?: string }} [query]
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').SessionList>}
   */
  list(query, options) {
    const call = { path: '/v1/sessions', parse: parse.sessionList, query, repeatable: true }
    return this.#transport.send({ method: 'GET', ...call }, options)
  }

  /**
   * Yield all sessions of this key, page by page.
   * @param {{ limit?: number }} [query]
   * @param {CallOptions} [options]
   * @returns {AsyncGenerator<Session, void, undefined>}
   */
  async *all({ limit = 1000 } = {}, options) {
    /** @type {string | undefined} */
    let after
    do {
      const page = await this.list({ limit, after }, options)
      yield* page.data
      after = page.has_more ? (page.last_id ?? undefined) : undefined
    } while (after !== undefined)
  }

  /**
   * Return the session at its last committed turn, with its turns and snapshots.
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').SessionDetail>}
   */
  get(id, options) {
    return this.#transport.send({ method: 'GET', path: path(id), parse: parse.session, repeatable: true }, options)
  }

  /**
   * Change the fields that are given. pinned: it never expires and stays in the server's memory.
   * @param {string} id
   * @param {{ metadata?: Record<string, string>, ttl_seconds?: number | null, pinned?: boolean, expected_turn?: number }} fields
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  update(id, fields, options) {
    return this.#transport.send({ method: 'PATCH', path: path(id), parse: parse.session, json: fields }, options)
  }

  /**
   * Append `text` or `tokens` to a session without a reply.
   * @param {string} id
   * @param {{ text?: string, tokens?: ArrayLike<number>, expected_turn?: number, timeout?: number }} fields
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  append(id, fields, options) {
    return this.#post(path(id, '/append'), fields, options)
  }

  /**
   * Create a session that continues from the last committed turn of this one.
   * @param {string} id
   * @param {{ metadata?: Record<string, string>, expected_turn?: number }} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  fork(id, fields = {}, options) {
    return this.#post(path(id, '/fork'), fields, options)
  }

  /**
   * Save the session's current state under a name.
   * @param {string} id
   * @param {string} name
   * @param {{ expected_turn?: number }} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  saveSnapshot(id, name, fields, options) {
    return this.#post(path(id, '/snapshots'), { ...fields, name }, options)
  }

  /**
   * Delete a named snapshot.
   * @param {string} id
   * @param {string} name
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  deleteSnapshot(id, name, options) {
    const route = path(id, `/snapshots/${encodeURIComponent(name)}`)
    return this.#transport.send({ method: 'DELETE', path: route, parse: parse.session }, options)
  }

  /**
   * Undo the last `turns` turns, or return to a named snapshot.
   * @param {string} id
   * @param {{ turns?: number, snapshot?: string, expected_turn?: number }} target
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  rollBack(id, target, options) {
    return this.#post(path(id, '/rollback'), target, options)
  }

  /**
   * Return the session as the bytes of a safetensors file. tokens: include its token log.
   * @param {string} id
   * @param {{ tokens?: boolean }} [query]
   * @param {CallOptions} [options]
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  export(id, { tokens } = {}, options) {
    /** @type {import('./transport.js').Call<Uint8Array<ArrayBuffer>>} */
    const call = { method: 'GET', path: path(id, '/state'), parse: (bytes) => bytes, query: { tokens: tokens || undefined } }
    return this.#transport.send({ ...call, repeatable: true, isFile: true }, options)
  }

  /**
   * Create a session from an exported file.
   * @param {File} file
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  importNew(file, options) {
    return this.#transport.send({ method: 'POST', path: '/v1/sessions', parse: parse.session, file }, options)
  }

  /**
   * Replace a session's state by an exported file, as one more turn.
   * @param {string} id
   * @param {File} file
   * @param {{ expected_turn?: number }} [query]
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  importInto(id, file, query, options) {
    return this.#transport.send({ method: 'PUT', path: path(id, '/state'), parse: parse.session, file, query }, options)
  }

  /**
   * Continue a session. prompt: only the new text; if empty, the reply continues the session's text.
   * @param {string} id
   * @param {string | ArrayLike<number>} [prompt]
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').Completion>}
   */
  generate(id, prompt = '', fields, options) {
    return this.#transport.send(completionCall(prompt, { ...fields, session_id: id }), options)
  }

  /**
   * Continue a session, as a stream.
   * @param {string} id
   * @param {string | ArrayLike<number>} [prompt]
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Stream}
   */
  stream(id, prompt = '', fields, options) {
    return new Stream(this.#transport, streamed(completionCall(prompt, { ...fields, session_id: id })), options)
  }

  /**
   * Continue a session by chat. messages: only the new ones.
   * @param {string} id
   * @param {Message[]} messages
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').Completion>}
   */
  chat(id, messages, fields, options) {
    return this.#transport.send(chatCall(messages, { ...fields, session_id: id }), options)
  }

  /**
   * Continue a session by chat, as a stream.
   * @param {string} id
   * @param {Message[]} messages
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Stream}
   */
  streamChat(id, messages, fields, options) {
    return new Stream(this.#transport, streamed(chatCall(messages, { ...fields, session_id: id })), options)
  }

  /**
   * End the running reply and keep its delivered part. Without a running reply nothing changes.
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  cancel(id, options) {
    return this.#post(path(id, '/cancel'), {}, options)
  }

  /**
   * Delete the session and end its running reply.
   * @param {string} id
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').Json>}
   */
  delete(id, options) {
    return this.#transport.send({ method: 'DELETE', path: path(id), parse: parse.jsonObject }, options)
  }

  /**
   * @param {string} route
   * @param {import('./types.js').Json} json
   * @param {CallOptions} [options]
   * @returns {Promise<Session>}
   */
  #post(route, json, options) {
    return this.#transport.send({ method: 'POST', path: route || '/v1/sessions', parse: parse.session, json }, options)
  }
}
