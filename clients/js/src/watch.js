// Waits that a signal ends.
import { ConnectionFailed } from './errors.js'

/** A deadline that each byte from the server moves on, joined with the caller's signal. */
export class Watch {
  #controller = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #timeoutMs
  #outer
  #onabort = () => this.#controller.abort(this.#outer?.reason)

  /** @param {number} timeoutMs @param {AbortSignal} [outer] */
  constructor(timeoutMs, outer) {
    this.#timeoutMs = timeoutMs
    this.#outer = outer
    outer?.throwIfAborted()
    outer?.addEventListener('abort', this.#onabort, { once: true })
    this.touch()
  }

  get signal() {
    return this.#controller.signal
  }

  /** Begin the wait for the next byte. */
  touch() {
    clearTimeout(this.#timer)
    const late = new ConnectionFailed(`the server sent nothing for ${this.#timeoutMs / 1000} s`, { requestSent: true })
    this.#timer = setTimeout(() => this.#controller.abort(late), this.#timeoutMs)
  }

  /** End the watch. The connection is closed if the answer is not read to its end. */
  end() {
    clearTimeout(this.#timer)
    this.#outer?.removeEventListener('abort', this.#onabort)
    this.#controller.abort()
  }
}

/** Wait, or throw as soon as the signal says so. @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    if (signal?.aborted) stop()
    else signal?.addEventListener('abort', stop, { once: true })
  })
}
