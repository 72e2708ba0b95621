// The rules of repeating a request. They are those of the Python client.
import { ConnectionFailed, StatusError } from './errors.js'

/**
 * Limits of repeating. maxRetries: tries after the first. Waits begin with firstWaitMs and double.
 * @typedef {object} RetryPolicy
 * @property {number} maxRetries
 * @property {number} firstWaitMs
 * @property {number} longestWaitMs
 */

/** @type {Readonly<RetryPolicy>} */
export const DEFAULT_RETRIES = Object.freeze({ maxRetries: 2, firstWaitMs: 500, longestWaitMs: 30_000 })

// The server sends these before it begins the work, so any request may be repeated.
const REFUSED_UNSTARTED = new Set([429, 503])

/**
 * Return the milliseconds until the next try, null to stop. jitter: random in [0, 1).
 * @param {RetryPolicy} policy
 * @param {number} retriesDone
 * @param {unknown} failure
 * @param {{ repeatable: boolean, jitter: number }} request
 * @returns {number | null}
 */
export function waitBeforeRetry(policy, retriesDone, failure, { repeatable, jitter }) {
  if (retriesDone >= policy.maxRetries || !mayRepeat(failure, repeatable)) return null
  if (failure instanceof StatusError && failure.retryAfterMs !== null) {
    // A try before that time would only be refused again.
    return failure.retryAfterMs <= policy.longestWaitMs ? failure.retryAfterMs : null
  }
  const backoff = Math.min(policy.longestWaitMs, policy.firstWaitMs * 2 ** retriesDone)
  // Clients that failed at the same time must not return at the same time.
  return backoff * (0.5 + 0.5 * jitter)
}

/** @param {unknown} failure @param {boolean} repeatable @returns {boolean} */
function mayRepeat(failure, repeatable) {
  if (failure instanceof ConnectionFailed) return repeatable || !failure.requestSent
  // The server marks answers that a blind retry would not change, such as a 409.
  if (!(failure instanceof StatusError) || failure.shouldRetry === false) return false
  if (REFUSED_UNSTARTED.has(failure.status)) return true
  // The server may have begun the work.
  return repeatable && [500, 502, 504].includes(failure.status)
}
