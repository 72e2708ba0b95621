// An answer of the server whose body is read in pieces.
import { connectionFailed } from './connection.js'

/** An answer whose status was checked. Its connection stays open until the body is read or it is closed. */
export class Answer {
  #watch
  #url

  /** @param {Response} response @param {import('./watch.js').Watch} watch @param {URL} url */
  constructor(response, watch, url) {
    this.response = response
    this.#watch = watch
    this.#url = url
  }

  /**
   * Yield the body as it comes. Leaving the loop closes the connection.
   * @returns {AsyncGenerator<Uint8Array, void, undefined>}
   */
  async *pieces() {
    const reader = this.response.body?.getReader()
    try {
      for (;;) {
        const { done, value } = (await reader?.read()) ?? { done: true }
        if (done || !value) return
        this.#watch.touch()
        yield value
      }
    } catch (error) {
      // What ended the connection says more than the error that fetch makes of it.
      if (this.#watch.signal.aborted) throw this.#watch.signal.reason
      throw connectionFailed(error, this.#url)
    } finally {
      this.close()
    }
  }

  /** Return the whole body. @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async bytes() {
    /** @type {Uint8Array<ArrayBuffer>[]} */
    const pieces = []
    for await (const piece of this.pieces()) pieces.push(/** @type {Uint8Array<ArrayBuffer>} */ (piece))
    return new Uint8Array(await new Blob(pieces).arrayBuffer())
  }

  /** Close the connection, which ends a reply on the server. A second call does nothing. */
  close() {
    this.#watch.end()
  }
}
