// What the client sends, what it makes of answers, and when it tries again. A function takes the place of fetch.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BadRequest, Conflict, ConnectionFailed, Expired, InvalidReply, NotFound, PararnnClient, PararnnError, ServerFailed, StatusError,
  StreamFailed, TooManyRequests, Unauthorized,
} from '../../clients/js/src/index.js'

const SESSION = { id: 'sess_1', num_tokens: 3, turn: 1, state_bytes: 8 }
const REPLY = { id: 'r', choices: [{ text: 'hi', finish_reason: 'stop' }], usage: { prompt_tokens: 1, completion_tokens: 2 } }
const json = (body, init) => Response.json(body, init)

function clientOf(answers, options = {}) {
  const sent = []
  const fetch = async (url, request) => {
    sent.push({ url: String(url), ...request })
    request.signal.throwIfAborted()
    const answer = answers[Math.min(sent.length, answers.length) - 1]
    if (answer instanceof Error) throw answer
    return typeof answer === 'function' ? answer(request) : answer.clone()
  }
  return { client: new PararnnClient({ fetch, retries: { firstWaitMs: 0 }, ...options }), sent }
}

const stream = (...parts) => new Response(new ReadableStream({
  start(controller) {
    for (const part of parts) {
      if (part instanceof Error) return controller.error(part)
      controller.enqueue(new TextEncoder().encode(part))
    }
    controller.close()
  },
}))

const event = (text, more = {}) => `data: ${JSON.stringify({ choices: [{ text, ...more }] })}\n\n`

async function collect(iterable) {
  const found = []
  for await (const each of iterable) found.push(each)
  return found
}

test('errors are told apart by status and carry the fields of the body', async () => {
  const classes = {
    400: BadRequest, 413: BadRequest, 415: BadRequest, 401: Unauthorized, 404: NotFound, 409: Conflict, 410: Expired,
    429: TooManyRequests, 500: ServerFailed, 504: ServerFailed,
  }
  for (const [status, kind] of Object.entries(classes)) {
    const error = { message: 'no such', type: 'kind', code: 'code', param: 'seed' }
    const headers = { 'x-request-id': 'req', 'x-should-retry': 'false' }
    const { client } = clientOf([json({ error }, { status: Number(status), headers })])
    const failure = await client.complete('x').catch((caught) => caught)
    assert.equal(failure.constructor, kind)
    assert.ok(failure instanceof StatusError && failure instanceof PararnnError)
    const { message, code, param, requestId, shouldRetry } = failure
    assert.deepEqual([failure.status, message, code, param, requestId, shouldRetry], [Number(status), 'no such', 'code', 'seed', 'req', false])
  }
})

test('an answer of something else than the server is an InvalidReply or a plain StatusError', async () => {
  const html = new Response('<html>', { status: 200 })
  await assert.rejects(clientOf([html]).client.models(), InvalidReply)
  await assert.rejects(clientOf([json([1])]).client.models(), InvalidReply)
  await assert.rejects(clientOf([json({ choices: [] })]).client.complete('x'), InvalidReply)
  await assert.rejects(clientOf([json({ id: 7 })]).client.sessions.get('a'), InvalidReply)
  await assert.rejects(clientOf([new Response(null, { status: 302, headers: { location: '/x' } })]).client.models(), InvalidReply)
  await assert.rejects(clientOf([new Response('<html>', { status: 418 })]).client.models(), { message: 'the server answered 418' })
})

test('an id never names another route', async () => {
  const { client, sent } = clientOf([json(SESSION)])
  await client.sessions.get('../a?b#c/d')
  await client.sessions.deleteSnapshot('s', 'x/../y')
  assert.deepEqual(sent.map((each) => each.url.slice(21)), ['/v1/sessions/..%2Fa%3Fb%23c%2Fd', '/v1/sessions/s/snapshots/x%2F..%2Fy'])
})

test('a server below a path is reached there, and its key goes only into a header', async () => {
  const { client, sent } = clientOf([json({})], { baseUrl: 'http://127.0.0.1:8000/llm?x#y', apiKey: 'k'.repeat(16) })
  await client.models()
  assert.equal(sent[0].url, 'http://127.0.0.1:8000/llm/v1/models')
  assert.equal(sent[0].headers.authorization, `Bearer ${'k'.repeat(16)}`)
  assert.deepEqual([sent[0].credentials, sent[0].redirect], ['omit', 'manual'])
})

test('an address or a key that cannot work is refused at once, and no password is shown', () => {
  for (const baseUrl of ['localhost:8000', 'nothing', 'ftp://x', 'http://me:secret@host']) {
    assert.throws(() => new PararnnClient({ baseUrl }), (error) => error instanceof ConnectionFailed && !error.message.includes('secret'))
  }
  for (const apiKey of ['a\nb', 'schlüssel']) assert.throws(() => new PararnnClient({ apiKey }), ConnectionFailed)
})

test('what may be repeated is repeated, and what began is not', async () => {
  const busy = json({ error: { message: 'later' } }, { status: 503 })
  const lost = new TypeError('fetch failed', { cause: Object.assign(new Error('reset'), { code: 'ECONNRESET' }) })
  const unreached = new TypeError('fetch failed', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) })
  const tries = async (answers, use) => {
    const { client, sent } = clientOf(answers)
    await use(client).catch((error) => assert.ok(error instanceof PararnnError))
    return sent.length
  }
  assert.equal(await tries([busy, busy, json(REPLY)], (client) => client.complete('x')), 3)
  assert.equal(await tries([busy], (client) => client.complete('x')), 3)
  assert.equal(await tries([unreached, json(REPLY)], (client) => client.complete('x')), 2)
  assert.equal(await tries([lost, json(REPLY)], (client) => client.complete('x')), 1)
  assert.equal(await tries([lost, json(SESSION)], (client) => client.sessions.get('a')), 2)
  assert.equal(await tries([lost, json(SESSION)], (client) => client.sessions.create({})), 1)
  assert.equal(await tries([lost, json(SESSION)], (client) => client.sessions.fork('a', {}, { idempotencyKey: 'k' })), 2)
  assert.equal(await tries([busy], (client) => client.isReady()), 1)
})

test('an idempotency key is sent again with the same request', async () => {
  const { client, sent } = clientOf([json({}, { status: 500 }), json(SESSION)])
  await client.sessions.append('a', { text: 'x' }, { idempotencyKey: 'once' })
  assert.deepEqual(sent.map((each) => [each.headers['idempotency-key'], each.body]), [['once', '{"text":"x"}'], ['once', '{"text":"x"}']])
})

test('a stream is a reply in pieces, and its last chunks have reason, session and usage', async () => {
  const usage = { choices: [], usage: { prompt_tokens: 4, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 3 } } }
  const parts = [event('a'), ': ping\n\n', event('b', { finish_reason: 'stop', session: SESSION }), `data: ${JSON.stringify(usage)}\n\n`, 'data: [DONE]\n\n']
  const { client, sent } = clientOf([() => stream(...parts)])
  const chunks = await collect(client.stream('x', { seed: 1 }))
  assert.equal(chunks.map((chunk) => chunk.text).join(''), 'ab')
  assert.deepEqual([chunks[1].finish_reason, chunks[1].session, chunks[2].usage.cached_tokens], ['stop', SESSION, 3])
  assert.deepEqual(JSON.parse(sent[0].body), { prompt: 'x', seed: 1, stream: true, stream_options: { include_usage: true } })
  assert.equal(await client.streamChat([{ role: 'user', content: 'x' }]).text(), 'ab')
})

test('a stream that is cut, or ends in an error, is never a short reply', async () => {
  const failed = 'data: {"error": {"message": "store full", "code": "store_full"}}\n\n'
  await assert.rejects(collect(clientOf([() => stream(event('a'))]).client.stream('x')), StreamFailed)
  await assert.rejects(collect(clientOf([() => stream(event('a'), failed)]).client.stream('x')), { code: 'store_full' })
  await assert.rejects(collect(clientOf([() => stream('data: nonsense\n\n')]).client.stream('x')), InvalidReply)
  const { client, sent } = clientOf([() => stream(new TypeError('terminated'))])
  await assert.rejects(collect(client.stream('x')), ConnectionFailed)
  assert.equal(sent.length, 1)
})

test('a stream is read once', async () => {
  const { client } = clientOf([() => stream(event('a'), 'data: [DONE]\n\n')])
  const reply = client.stream('x')
  assert.equal(await reply.text(), 'a')
  await assert.rejects(reply.text(), PararnnError)
})

test('leaving a stream early ends its request', async () => {
  const { client, sent } = clientOf([() => stream(event('a'), event('b'), 'data: [DONE]\n\n')])
  for await (const chunk of client.stream('x')) {
    assert.equal(chunk.text, 'a')
    break
  }
  assert.ok(sent[0].signal.aborted)
})

test('a signal ends a call, a wait for the next try, and a stream, with its own reason', async () => {
  const hang = (request) => new Promise((_, reject) => request.signal.addEventListener('abort', () => reject(request.signal.reason)))
  const reason = new Error('enough')
  for (const answers of [[hang], [json({}, { status: 503, headers: { 'retry-after': '20' } })]]) {
    const controller = new AbortController()
    const call = clientOf(answers).client.models({ signal: controller.signal })
    setTimeout(() => controller.abort(reason), 5)
    assert.equal(await call.catch((error) => error), reason)
  }
  assert.equal(await clientOf([json({})]).client.models({ signal: AbortSignal.abort(reason) }).catch((error) => error), reason)
  const open = (request) => new Response(new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(event('a')))
      request.signal.addEventListener('abort', () => controller.error(request.signal.reason))
    },
  }))
  const controller = new AbortController()
  const chunks = clientOf([open]).client.stream('x', {}, { signal: controller.signal })[Symbol.asyncIterator]()
  assert.equal((await chunks.next()).value.text, 'a')
  setTimeout(() => controller.abort(reason), 5)
  assert.equal(await chunks.next().catch((error) => error), reason)
})

test('a server that sends nothing for the time-out is a lost connection', async () => {
  const hang = (request) => new Promise((_, reject) => request.signal.addEventListener('abort', () => reject(request.signal.reason)))
  const { client, sent } = clientOf([hang], { timeoutMs: 20 })
  await assert.rejects(client.complete('x'), (error) => error instanceof ConnectionFailed && error.requestSent)
  assert.equal(sent.length, 1)
})

test('a monitor resumes after the last event that it has', async () => {
  const told = (id, type) => `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ type, sessions: [] })}\n\n`
  const first = () => stream(told('a-1', 'snapshot'), told('a-2', 'change'))
  const { client, sent } = clientOf([first, () => stream(told('a-3', 'change'))])
  const types = []
  for await (const each of client.monitor()) {
    types.push(each.type)
    if (types.length === 3) break
  }
  assert.deepEqual(types, ['snapshot', 'change', 'change'])
  assert.deepEqual(sent.map((each) => each.headers['last-event-id']), [undefined, 'a-2'])
})

test('all pages of sessions are read one after the other', async () => {
  const page = (ids, more) => json({ data: ids.map((id) => ({ ...SESSION, id })), has_more: more })
  const { client, sent } = clientOf([page(['a', 'b'], true), page(['c'], false)])
  assert.deepEqual((await collect(client.sessions.all({ limit: 2 }))).map((each) => each.id), ['a', 'b', 'c'])
  assert.deepEqual(sent.map((each) => new URL(each.url).search), ['?limit=2', '?limit=2&after=b'])
})
