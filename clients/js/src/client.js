// The client of one server.
import { PararnnError } from './errors.js'
import { monitorEvents } from './monitor.js'
import * as parse from './parse.js'
import { chatCall, completionCall, streamed } from './replies.js'
import { DEFAULT_RETRIES } from './retries.js'
import { Sessions } from './sessions.js'
import { Stream } from './stream.js'
import { Transport } from './transport.js'

/** @typedef {import('./types.js').CallOptions} CallOptions */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Json} Json */
/** @typedef {import('./replies.js').Fields} Fields */

export const DEFAULT_URL = 'http://127.0.0.1:8000'
const DEFAULT_TIMEOUT_MS = 600_000

/**
 * @typedef {object} ClientOptions
 * @property {string | URL} [baseUrl] the server's address without the trailing /v1
 * @property {string} [apiKey] sent as a bearer token
 * @property {number} [timeoutMs] time without a byte from the server after which a call fails
 * @property {Partial<import('./retries.js').RetryPolicy>} [retries]
 * @property {typeof fetch} [fetch] sends the requests; that of the platform by default
 */

/** Client of one server. Every failure is a PararnnError, except those of an AbortSignal. */
export class PararnnClient {
  #transport

  /** @param {ClientOptions} [options] */
  constructor({ baseUrl = DEFAULT_URL, apiKey, timeoutMs = DEFAULT_TIMEOUT_MS, retries, fetch: send } = {}) {
    // A browser's fetch must be called as a function of its window.
    const platform = /** @type {typeof fetch} */ ((...request) => globalThis.fetch(...request))
    this.#transport = new Transport({ baseUrl, apiKey, timeoutMs, retries: { ...DEFAULT_RETRIES, ...retries }, fetch: send ?? platform })
    this.sessions = new Sessions(this.#transport)
  }

  /**
   * Return a reply to `prompt` (text or token ids).
   * @param {string | ArrayLike<number>} prompt
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').Completion>}
   */
  complete(prompt, fields, options) {
    return this.#transport.send(completionCall(prompt, fields), options)
  }

  /**
   * Return a reply to `prompt` as a stream.
   * @param {string | ArrayLike<number>} prompt
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Stream}
   */
  stream(prompt, fields, options) {
    return new Stream(this.#transport, streamed(completionCall(prompt, fields)), options)
  }

  /**
   * Return a reply to a list of {role, content}.
   * @param {Message[]} messages
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Promise<import('./types.js').Completion>}
   */
  chat(messages, fields, options) {
    return this.#transport.send(chatCall(messages, fields), options)
  }

  /**
   * Return a reply to a list of {role, content} as a stream.
   * @param {Message[]} messages
   * @param {Fields} [fields]
   * @param {CallOptions} [options]
   * @returns {Stream}
   */
  streamChat(messages, fields, options) {
    return new Stream(this.#transport, streamed(chatCall(messages, fields)), options)
  }

  /** Return the served models. @param {CallOptions} [options] @returns {Promise<Json>} */
  models(options) {
    return this.#get('/v1/models', options)
  }

  /**
   * Return the token ids of a prompt or of messages, as a generating route reads them.
   * @param {Fields} fields
   * @param {CallOptions} [options]
   * @returns {Promise<Json & { tokens: number[] }>}
   */
  tokenize(fields, options) {
    const read = (/** @type {unknown} */ body) => /** @type {Json & { tokens: number[] }} */ (parse.jsonObject(body))
    return this.#transport.send({ method: 'POST', path: '/tokenize', parse: read, json: fields, repeatable: true }, options)
  }

  /** Return the text of token ids. @param {ArrayLike<number>} tokens @param {CallOptions} [options] @returns {Promise<string>} */
  detokenize(tokens, options) {
    const read = (/** @type {unknown} */ body) => String(parse.jsonObject(body).prompt)
    return this.#transport.send({ method: 'POST', path: '/detokenize', parse: read, json: { tokens }, repeatable: true }, options)
  }

  /** Return facts about the tokenizer, such as its chat template. @param {CallOptions} [options] @returns {Promise<Json>} */
  tokenizerInfo(options) {
    return this.#get('/tokenizer_info', options)
  }

  /**
   * Yield a snapshot of the key's sessions and budgets, then changes. The admin key sees those of all keys.
   * @param {CallOptions} [options]
   * @returns {AsyncGenerator<import('./monitor.js').MonitorEvent, void, undefined>}
   */
  monitor(options) {
    return monitorEvents(this.#transport, options)
  }

  /** Return true if the server takes new work now. It is asked once. @param {CallOptions} [options] @returns {Promise<boolean>} */
  async isReady(options) {
    try {
      await this.#transport.send({ method: 'GET', path: '/ready', parse: () => true, isFile: true, once: true }, options)
      return true
    } catch (error) {
      if (error instanceof PararnnError) return false
      throw error
    }
  }

  /** @param {string} path @param {CallOptions} [options] @returns {Promise<Json>} */
  #get(path, options) {
    return this.#transport.send({ method: 'GET', path, parse: parse.jsonObject, repeatable: true }, options)
  }
}
