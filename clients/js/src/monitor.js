// The live view of sessions and budgets: a snapshot, then changes.
import { ConnectionFailed } from './errors.js'
import { jsonObject } from './parse.js'
import { EventDecoder } from './sse.js'
import { eventBody } from './stream.js'
import { pause } from './watch.js'

/** @typedef {import('./types.js').Session & { owner: string }} MonitoredSession */

/**
 * A reply that has a slot.
 * @typedef {object} RunningReply
 * @property {string} id
 * @property {string | null} session_id
 * @property {string} owner
 * @property {'prefill' | 'decode'} phase
 * @property {number} prompt_tokens
 * @property {number} prompt_tokens_read
 * @property {number} completion_tokens
 * @property {number} tokens_per_second
 */

/**
 * A limit and its use. owner: null for the whole server; limit: null where there is none.
 * @typedef {object} Budget
 * @property {string} name
 * @property {string | null} owner
 * @property {string | null} model
 * @property {number} used
 * @property {number | null} limit
 */

/** Seconds. @typedef {{ count: number, p50: number | null, p99: number | null }} Quantiles */

/** @typedef {{ time_to_first_token: Quantiles, inter_token_latency: Quantiles }} Latency */

/** [number, prompt rows, decode rows, seconds] @typedef {[number, number, number, number]} Step */

/**
 * A snapshot has all members but `removed`. In a change, a member that is absent has not changed; `sessions`,
 * `budgets` and `steps` then hold only what is new or different.
 * @typedef {object} MonitorEvent
 * @property {'snapshot' | 'change'} type
 * @property {number} time seconds since 1970
 * @property {boolean} [all_keys]
 * @property {MonitoredSession[]} sessions
 * @property {string[]} [removed]
 * @property {{ id: string, state_bytes: number, weight_bytes: number }[]} [models]
 * @property {RunningReply[]} [running]
 * @property {Budget[]} [budgets]
 * @property {Record<string, Latency>} [latency]
 * @property {Record<string, Step[]>} [steps]
 */

const RESUME_MS = 500

/**
 * Yield the events of /v1/monitor. After a lost connection the stream resumes where it was; it throws once the
 * tries of the client's policy are used up.
 * @param {import('./transport.js').Transport} transport
 * @param {import('./types.js').CallOptions} [options]
 * @returns {AsyncGenerator<MonitorEvent, void, undefined>}
 */
export async function* monitorEvents(transport, options = {}) {
  /** @type {string | null} */
  let last = null
  for (;;) {
    /** @type {Record<string, string>} */
    const headers = last === null ? {} : { 'last-event-id': last }
    /** @type {import('./transport.js').Call<import('./types.js').Json>} */
    const call = { method: 'GET', path: '/v1/monitor', parse: jsonObject, headers, repeatable: true }
    const answer = await transport.open(call, options)
    const decoder = new EventDecoder()
    try {
      for await (const piece of answer.pieces()) {
        for (const { data, id } of decoder.feed(piece)) {
          last = id
          yield /** @type {MonitorEvent} */ (eventBody(data))
        }
      }
    } catch (error) {
      if (!(error instanceof ConnectionFailed)) throw error
    }
    // A server that drains ends the stream. It must not be asked without a pause.
    await pause(RESUME_MS, options.signal)
  }
}
