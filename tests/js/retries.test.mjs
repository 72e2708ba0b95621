// The rules of repeating a request: those of the Python client (tests/client/test_retries.py).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConnectionFailed, StatusError } from '../../clients/js/src/index.js'
import { waitBeforeRetry } from '../../clients/js/src/retries.js'

const POLICY = { maxRetries: 3, firstWaitMs: 1000, longestWaitMs: 5000 }
const status = (value, fields = {}) => new StatusError('no', { status: value, ...fields })
const wait = (failure, repeatable, done = 0) => waitBeforeRetry(POLICY, done, failure, { repeatable, jitter: 1 })

test('a request refused before it began is repeated whatever it is', () => {
  for (const each of [429, 503]) assert.equal(wait(status(each), false), 1000)
})

test('a request that may have worked is repeated only when harmless', () => {
  for (const failure of [status(500), status(502), status(504), new ConnectionFailed('', { requestSent: true })]) {
    assert.equal(wait(failure, false), null)
    assert.notEqual(wait(failure, true), null)
  }
})

test('a refusal that waiting does not mend is never repeated', () => {
  for (const each of [400, 401, 404, 409, 410, 413]) assert.equal(wait(status(each), true), null)
})

test('a request that was never sent is repeated', () => {
  assert.notEqual(wait(new ConnectionFailed('', { requestSent: false }), false), null)
})

test('x-should-retry: false ends it', () => {
  for (const each of [429, 500, 503]) assert.equal(wait(status(each, { shouldRetry: false }), true), null)
})

test('an error that is not of the server is never repeated', () => {
  assert.equal(wait(new DOMException('', 'AbortError'), true), null)
})

test('retry-after is kept to the second or not tried', () => {
  assert.equal(wait(status(429, { retryAfterMs: 4000 }), false), 4000)
  assert.equal(wait(status(429, { retryAfterMs: 6000 }), false), null)
})

test('waits double up to the longest and end after the last retry', () => {
  const waits = [0, 1, 2, 3].map((done) => wait(status(429), false, done))
  assert.deepEqual(waits, [1000, 2000, 4000, null])
  assert.equal(waitBeforeRetry({ ...POLICY, maxRetries: 9 }, 6, status(429), { repeatable: false, jitter: 1 }), 5000)
})
