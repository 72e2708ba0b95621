// Calls over fetch. A transport sends calls, and repeats them as the policy allows.
import { Answer } from './answer.js'
import { authorization, connectionFailed, parseUrl } from './connection.js'
import { InvalidReply, statusErrorClass } from './errors.js'
import { isObject } from './parse.js'
import { waitBeforeRetry } from './retries.js'
import { pause, Watch } from './watch.js'

/**
 * One HTTP request and the reader of its answer.
 * @template T
 * @typedef {object} Call
 * @property {'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} method
 * @property {string} path
 * @property {(body: any) => T} parse reads the answer's JSON, or its bytes if `isFile`
 * @property {import('./types.js').Json} [json]
 * @property {BodyInit} [file]
 * @property {Record<string, string | number | boolean | undefined>} [query]
 * @property {Record<string, string>} [headers]
 * @property {boolean} [repeatable] sending it twice has the same effect as once
 * @property {boolean} [once] it is never repeated
 * @property {boolean} [isFile]
 */

/** @typedef {import('./types.js').CallOptions} CallOptions */

/**
 * @typedef {object} Settings
 * @property {string | URL} baseUrl
 * @property {string} [apiKey]
 * @property {number} timeoutMs
 * @property {import('./retries.js').RetryPolicy} retries
 * @property {typeof fetch} fetch
 */

export class Transport {
  #url
  #settings
  #headers

  /** @param {Settings} settings */
  constructor(settings) {
    this.#url = parseUrl(settings.baseUrl)
    this.#headers = authorization(settings.apiKey)
    this.#settings = settings
  }

  /**
   * Send a call and return its result.
   * @template T
   * @param {Call<T>} call
   * @param {CallOptions} [options]
   * @returns {Promise<T>}
   */
  send(call, options = {}) {
    return this.#withRetries(call, options, async () => {
      const answer = await this.#exchange(call, options)
      return call.parse(await this.#read(call, answer))
    })
  }

  /**
   * Return the answer after its status is checked and before its body is read.
   * @param {Call<any>} call
   * @param {CallOptions} [options]
   * @returns {Promise<Answer>}
   */
  open(call, options = {}) {
    // Once a stream has begun it is never repeated, because its chunks may be in use already.
    return this.#withRetries(call, options, () => this.#exchange(call, options))
  }

  /** @param {Call<any>} call @param {CallOptions} options @returns {Promise<Answer>} */
  async #exchange(call, options) {
    const watch = new Watch(this.#settings.timeoutMs, options.signal)
    try {
      const response = await this.#fetch(call, options, watch)
      watch.touch()
      if (!response.ok) await this.#refuse(response)
      return new Answer(response, watch, this.#url)
    } catch (error) {
      watch.end()
      throw error
    }
  }

  /** @param {Call<any>} call @param {CallOptions} options @param {Watch} watch @returns {Promise<Response>} */
  async #fetch(call, options, watch) {
    const headers = { ...this.#headers, ...call.headers }
    if (options.idempotencyKey !== undefined) headers['idempotency-key'] = options.idempotencyKey
    if (call.json) headers['content-type'] = 'application/json'
    if (call.file) headers['content-type'] = 'application/octet-stream'
    /** @type {RequestInit} */
    const request = {
      method: call.method,
      headers,
      body: call.json ? JSON.stringify(call.json) : call.file,
      signal: watch.signal,
      cache: 'no-store',
      // A key is sent in a header: neither cookies nor other sites are part of it.
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      redirect: 'manual',
    }
    try {
      return await this.#settings.fetch(this.#address(call), request)
    } catch (error) {
      if (watch.signal.aborted) throw watch.signal.reason
      throw connectionFailed(error, this.#url)
    }
  }

  /** @param {Call<any>} call @returns {URL} */
  #address({ path, query = {} }) {
    const url = new URL(path.replace(/^\//, ''), this.#url)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    return url
  }

  /** @param {Call<any>} call @param {Answer} answer */
  async #read(call, answer) {
    const bytes = await answer.bytes()
    if (call.isFile) return bytes
    try {
      return bytes.length ? JSON.parse(new TextDecoder().decode(bytes)) : {}
    } catch {
      throw new InvalidReply(`${this.#url.origin} answered ${answer.response.status} without JSON`)
    }
  }

  /** Throw the error of an answer that is no success. @param {Response} response */
  async #refuse(response) {
    if (response.type === 'opaqueredirect' || (response.status >= 300 && response.status < 400)) {
      throw new InvalidReply(`${this.#url.origin} sends the request to another address: use that one`)
    }
    const body = await response.json().catch(() => null)
    // A proxy may answer with HTML, or with JSON that is no object.
    const error = isObject(body) && isObject(body.error) ? body.error : {}
    const message = String(error.message || `the server answered ${response.status}`)
    throw new (statusErrorClass(response.status))(message, {
      status: response.status,
      kind: error.type,
      code: error.code,
      param: error.param,
      requestId: response.headers.get('x-request-id'),
      retryAfterMs: milliseconds(response.headers.get('retry-after')),
      shouldRetry: flag(response.headers.get('x-should-retry')),
    })
  }

  /**
   * @template R
   * @param {Call<any>} call
   * @param {CallOptions} options
   * @param {() => Promise<R>} attempt
   * @returns {Promise<R>}
   */
  async #withRetries(call, options, attempt) {
    // The server does a call with a key only once, so the client may send it again.
    const repeatable = Boolean(call.repeatable) || options.idempotencyKey !== undefined
    for (let retries = 0; ; retries++) {
      try {
        return await attempt()
      } catch (failure) {
        if (call.once) throw failure
        const wait = waitBeforeRetry(this.#settings.retries, retries, failure, { repeatable, jitter: Math.random() })
        if (wait === null) throw failure
        await pause(wait, options.signal)
      }
    }
  }
}

/** @param {string | null} value @returns {number | null} */
function milliseconds(value) {
  // HTTP also allows a date here. Then the client's own waits apply.
  const seconds = value ? Number(value) : NaN
  return Number.isNaN(seconds) ? null : Math.max(0, seconds * 1000)
}

/** @param {string | null} value @returns {boolean | null} */
const flag = (value) => (value === null ? null : value.trim().toLowerCase() === 'true')
