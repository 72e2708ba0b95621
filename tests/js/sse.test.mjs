// Events are the same however their bytes are cut.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EventDecoder } from '../../clients/js/src/sse.js'

const TEXT = ': ping\n\nid: 7\ndata: {"a": "é\u{1F600}"}\n\nevent: x\ndata:one\ndata: two\n\n: ping\r\n\r\ndata: last\r\n\r\ndata: [DONE]\n\n'
const EVENTS = ['{"a": "é\u{1F600}"}', 'one\ntwo', 'last', '[DONE]']

function decoded(pieces) {
  const decoder = new EventDecoder()
  return pieces.flatMap((piece) => decoder.feed(piece))
}

test('events are decoded from pieces of any size', () => {
  const bytes = new TextEncoder().encode(TEXT)
  for (const size of [1, 2, 3, 7, 64, bytes.length]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.slice(i * size, (i + 1) * size))
    const events = decoded(pieces)
    assert.deepEqual(events.map((event) => event.data), EVENTS)
    assert.deepEqual(events.map((event) => event.id), ['7', '7', '7', '7'])
  }
})

test('a long event in many pieces takes time in proportion to its length', () => {
  const piece = new TextEncoder().encode('x'.repeat(1000))
  const work = (count) => {
    const decoder = new EventDecoder()
    decoder.feed(new TextEncoder().encode('data: '))
    const begin = process.cpuUsage()
    for (let i = 0; i < count; i++) decoder.feed(piece)
    assert.equal(decoder.feed(new TextEncoder().encode('\n\n'))[0].data.length, count * 1000)
    const { user, system } = process.cpuUsage(begin)
    return user + system
  }
  work(2000)
  // In proportion it is 8; with a search from the beginning for each piece it would be 64.
  assert.ok(work(16_000) < 32 * Math.max(work(2000), 2000))
})
