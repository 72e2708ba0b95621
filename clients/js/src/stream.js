// A streamed reply as an async iterable.
import { InvalidReply, PararnnError, StreamFailed } from './errors.js'
import { isObject } from './parse.js'
import { DONE, EventDecoder } from './sse.js'

/** @typedef {import('./types.js').Chunk} Chunk */

/**
 * A reply as a stream of chunks, to be read once with `for await`. The request is sent when reading begins.
 * Leaving the loop early ends the reply on the server.
 * @implements {AsyncIterable<Chunk>}
 */
export class Stream {
  #transport
  #call
  #options
  #begun = false
  #stop = new AbortController()

  /**
   * @param {import('./transport.js').Transport} transport
   * @param {import('./transport.js').Call<Chunk>} call
   * @param {import('./types.js').CallOptions} [options]
   */
  constructor(transport, call, options = {}) {
    this.#transport = transport
    this.#call = call
    this.#options = options
  }

  /** @returns {AsyncGenerator<Chunk, void, undefined>} */
  async *[Symbol.asyncIterator]() {
    if (this.#begun) throw new PararnnError('a stream can be read only once')
    this.#begun = true
    const { signal } = this.#options
    const ends = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal
    const answer = await this.#transport.open(this.#call, { ...this.#options, signal: ends })
    const decoder = new EventDecoder()
    for await (const piece of answer.pieces()) {
      for (const { data } of decoder.feed(piece)) {
        if (data === DONE) return
        yield this.#call.parse(eventBody(data))
      }
    }
    // Without this check a stream that was cut would look like a short reply.
    throw new StreamFailed('the connection closed before the reply ended')
  }

  /** Close the connection, also while a chunk is awaited: the loop then throws an AbortError. */
  close() {
    this.#stop.abort()
  }

  /** Return the whole text. @returns {Promise<string>} */
  async text() {
    let text = ''
    for await (const chunk of this) text += chunk.text
    return text
  }
}

/** @param {string} data @returns {import('./types.js').Json} */
export function eventBody(data) {
  let body
  try {
    body = JSON.parse(data)
  } catch {
    throw new InvalidReply(`an event of the stream is not JSON: ${JSON.stringify(data.slice(0, 80))}`)
  }
  if (!isObject(body)) throw new InvalidReply(`an event of the stream is not a JSON object: ${JSON.stringify(data.slice(0, 80))}`)
  // The status was sent before the reply began, so a later failure arrives as an event.
  if (isObject(body.error)) {
    const { message, code, type } = body.error
    throw new StreamFailed(String(message ?? 'the server failed'), { code: code ?? type ?? 'server_error' })
  }
  return body
}
