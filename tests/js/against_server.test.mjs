// The client against a real server: what it sends is accepted, what comes back is understood.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { BadRequest, Conflict, ConnectionFailed, NotFound, PararnnClient, Unauthorized } from '../../clients/js/src/index.js'

const { SERVER_URL, SERVER_KEY } = process.env
const skip = SERVER_URL ? false : 'SERVER_URL is not set: pytest starts the server'
const client = SERVER_URL ? new PararnnClient({ baseUrl: SERVER_URL, apiKey: SERVER_KEY }) : undefined
const FOREVER = { max_tokens: 100_000, ignore_eos: true }

async function eventually(check) {
  for (let tries = 0; tries < 500; tries++) {
    if (await check()) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  assert.fail('it never came true')
}

test('a session lives its whole life', { skip }, async () => {
  const session = await client.sessions.create({ text: 'the ', metadata: { who: 'me' }, ttl_seconds: 60 })
  assert.deepEqual([session.turn, session.metadata], [1, { who: 'me' }])
  const longer = await client.sessions.append(session.id, { text: 'cat', expected_turn: 1 })
  assert.ok(longer.num_tokens > session.num_tokens)
  assert.equal(longer.state_bytes, session.state_bytes)
  const reply = await client.sessions.generate(session.id, ' sat', { max_tokens: 4, ignore_eos: true, seed: 1 })
  assert.equal(reply.usage.completion_tokens, 4)
  assert.equal(reply.session.turn, 3)
  const read = await client.sessions.get(session.id)
  assert.deepEqual([read.turn, read.turns.length], [3, 3])
  await client.sessions.delete(session.id)
  await assert.rejects(client.sessions.get(session.id), NotFound)
})

test('a session branches and travels', { skip }, async () => {
  const session = await client.sessions.create({ text: 'the ' })
  const once = { idempotencyKey: `fork-${session.id}` }
  const child = await client.sessions.fork(session.id, { metadata: { k: 'v' } }, once)
  assert.equal((await client.sessions.fork(session.id, { metadata: { k: 'v' } }, once)).id, child.id)
  await client.sessions.saveSnapshot(session.id, 'here')
  assert.equal((await client.sessions.append(session.id, { text: 'cat' })).turn, 2)
  assert.equal((await client.sessions.rollBack(session.id, { turns: 1 })).turn, 1)
  assert.equal((await client.sessions.rollBack(session.id, { snapshot: 'here' })).turn, 1)
  await client.sessions.deleteSnapshot(session.id, 'here')
  assert.equal((await client.sessions.update(session.id, { pinned: true })).pinned, true)
  const file = await client.sessions.export(session.id, { tokens: true })
  assert.equal((await client.sessions.importNew(file)).num_tokens, session.num_tokens)
  assert.equal((await client.sessions.importInto(child.id, new Blob([file]), { expected_turn: 1 })).turn, 2)
})

test('pages together hold every session once', { skip }, async () => {
  const made = []
  for (let i = 0; i < 5; i++) made.push((await client.sessions.create()).id)
  const found = []
  for await (const session of client.sessions.all({ limit: 2 })) found.push(session.id)
  assert.equal(new Set(found).size, found.length)
  assert.deepEqual(made.filter((id) => !found.includes(id)), [])
})

test('a streamed reply is the whole one', { skip }, async () => {
  const fields = { max_tokens: 12, seed: 7, ignore_eos: true }
  const messages = [{ role: 'user', content: 'hello' }]
  assert.equal(await client.stream('hello', fields).text(), (await client.complete('hello', fields)).text)
  const whole = await client.chat(messages, fields)
  const chunks = []
  for await (const chunk of client.streamChat(messages, fields)) chunks.push(chunk)
  assert.equal(chunks.map((chunk) => chunk.text).join(''), whole.text)
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens)
  assert.deepEqual(chunks.map((chunk) => chunk.finish_reason).filter(Boolean), [whole.finish_reason])
})

test('leaving a stream ends the reply and undoes the turn', { skip }, async () => {
  const session = await client.sessions.create({ text: 'a' })
  for await (const _ of client.sessions.stream(session.id, 'b', FOREVER)) break
  await eventually(() => client.sessions.append(session.id, { text: 'c' }).then(() => true, (error) => assert.ok(error instanceof Conflict)))
  assert.equal((await client.sessions.get(session.id)).turn, 2)
})

test('cancel ends the stream and keeps what was delivered', { skip }, async () => {
  const session = await client.sessions.create({ text: 'a' })
  const reasons = []
  let asked = false
  for await (const chunk of client.sessions.stream(session.id, 'b', FOREVER)) {
    if (!asked && chunk.text) {
      asked = true
      await assert.rejects(client.sessions.append(session.id, { text: 'while busy' }), Conflict)
      await client.sessions.cancel(session.id)
    }
    if (chunk.finish_reason) reasons.push(chunk.finish_reason)
  }
  assert.deepEqual(reasons, ['cancelled'])
  assert.ok((await client.sessions.get(session.id)).num_tokens > session.num_tokens)
})

test('text becomes ids and text again', { skip }, async () => {
  const { tokens } = await client.tokenize({ prompt: 'the caf\u00e9' })
  assert.ok((await client.detokenize(tokens)).endsWith('the caf\u00e9'))
  assert.ok(await client.isReady())
  assert.equal((await client.models()).object, 'list')
  assert.equal(typeof (await client.tokenizerInfo()).chat_into_session, 'boolean')
})

test('a monitor shows a session as it comes, grows and goes', { skip }, async () => {
  let session
  const seen = []
  for await (const event of client.monitor()) {
    if (event.type === 'snapshot') session = await client.sessions.create({ text: 'a', metadata: { who: 'watched' } })
    const found = event.sessions.find((each) => each.id === session.id)
    if (found && !seen.includes(found.turn)) {
      seen.push(found.turn)
      if (found.turn === 2) await client.sessions.delete(session.id)
      else await client.sessions.append(session.id, { text: 'b', expected_turn: 1 })
    }
    if (event.removed?.includes(session.id)) break
  }
  assert.deepEqual(seen, [1, 2])
})

test('a field that is refused is named', { skip }, async () => {
  await assert.rejects(client.complete('x', { temprature: 1 }), (error) => error instanceof BadRequest && error.param === 'temprature')
})

test('a key opens what is closed without it', { skip }, async () => {
  await assert.rejects(new PararnnClient({ baseUrl: SERVER_URL }).models(), Unauthorized)
})

test('a server that is not there is known not to have the request', async () => {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address()
  listener.close()
  await once(listener, 'close')
  const nobody = new PararnnClient({ baseUrl: `http://127.0.0.1:${port}`, retries: { maxRetries: 0 } })
  await assert.rejects(nobody.complete('x'), (error) => error instanceof ConnectionFailed && !error.requestSent)
})
