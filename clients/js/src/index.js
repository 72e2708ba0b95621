// JavaScript client of pararnn-server: completions, and sessions whose memory does not grow.
export { DEFAULT_URL, PararnnClient } from './client.js'
export {
  BadRequest,
  Conflict,
  ConnectionFailed,
  Expired,
  InvalidReply,
  NotFound,
  PararnnError,
  ServerFailed,
  StatusError,
  StreamFailed,
  TooManyRequests,
  Unauthorized,
} from './errors.js'
export { DEFAULT_RETRIES } from './retries.js'
export { Sessions } from './sessions.js'
export { Stream } from './stream.js'

/** @typedef {import('./client.js').ClientOptions} ClientOptions */
/** @typedef {import('./retries.js').RetryPolicy} RetryPolicy */
/** @typedef {import('./monitor.js').Budget} Budget */
/** @typedef {import('./monitor.js').Latency} Latency */
/** @typedef {import('./monitor.js').MonitorEvent} MonitorEvent */
/** @typedef {import('./monitor.js').MonitoredSession} MonitoredSession */
/** @typedef {import('./monitor.js').RunningReply} RunningReply */
/** @typedef {import('./monitor.js').Step} Step */
/** @typedef {import('./types.js').CallOptions} CallOptions */
/** @typedef {import('./types.js').Chunk} Chunk */
/** @typedef {import('./types.js').Completion} Completion */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Session} Session */
/** @typedef {import('./types.js').SessionAfter} SessionAfter */
/** @typedef {import('./types.js').SessionDetail} SessionDetail */
/** @typedef {import('./types.js').SessionList} SessionList */
/** @typedef {import('./types.js').Snapshot} Snapshot */
/** @typedef {import('./types.js').Turn} Turn */
/** @typedef {import('./types.js').Usage} Usage */
