// The routes of the server that the page calls. A key is kept in sessionStorage and sent as a header, never in a URL.

export interface Session {
  id: string
  model: string
  created_at: number
  last_used_at: number
  num_tokens: number
  turn: number
  state_bytes: number
  snapshot_bytes: number
  history_bytes: number
  tier: 'device' | 'host' | 'store'
  parent_id: string | null
  metadata: Record<string, string>
  expires_at: number | null
  pinned: boolean
  owner?: string
  tokens_per_second?: number
}

export interface Turn {
  turn: number
  created_at: number
  prompt_tokens: number
  completion_tokens: number
  num_tokens: number
  duration_seconds: number
}

export interface Snapshot {
  turn: number
  num_tokens: number
  created_at: number
  nbytes: number
}

export interface SessionDetail extends Session {
  turns: Turn[]
  snapshots: Record<string, Snapshot>
}

export interface Model {
  id: string
  state_bytes: number
  /** Computed: of one token in the cache of a Transformer of this width and depth. */
  transformer_token_bytes: number
}

export interface TokenizerInfo {
  chat_template: string | null
  chat_into_session: boolean
}

export interface Usage {
  prompt_tokens: number
  completion_tokens: number
  prompt_tokens_details?: { cached_tokens: number }
}

/** A part of a streamed reply: text, or what the last events say. */
export interface Part {
  text: string
  finish?: string
  session?: { id: string; turn: number; num_tokens: number; state_bytes: number }
  usage?: Usage
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly param: string | null = null,
  ) {
    super(message)
  }

  /** True where the server could not be reached, or said that it cannot answer now. */
  get isAway(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503
  }
}

const KEY = 'pararnn-key'
export const getKey = (): string => sessionStorage.getItem(KEY) ?? ''
export const setKey = (key: string): void =>
  key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY)

const address = (path: string): URL => new URL(path.replace(/^\//, ''), document.baseURI.replace(/#.*$/, ''))
const id = (session: string): string => encodeURIComponent(session)

interface Options {
  method?: string
  json?: unknown
  body?: Blob
  headers?: Record<string, string>
  signal?: AbortSignal
}

export async function call(path: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { ...options.headers }
  const key = getKey()
  if (key) headers.authorization = `Bearer ${key}`
  let body: BodyInit | undefined
  if (options.json !== undefined) {
    headers['content-type'] = 'application/json'
    body = JSON.stringify(options.json)
  } else if (options.body) {
    headers['content-type'] = 'application/octet-stream'
    body = options.body
  }
  let response: Response
  try {
    response = await fetch(address(path), {
      method: options.method ?? (body === undefined ? 'GET' : 'POST'),
      headers,
      body,
      signal: options.signal,
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
    })
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new ApiError(0, 'unreachable', 'The server cannot be reached.')
  }
  if (!response.ok) throw await refusal(response)
  return response
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    const { error } = await response.json()
    return new ApiError(response.status, error.code ?? '', String(error.message), error.param ?? null)
  } catch {
    return new ApiError(response.status, '', `The server answered ${response.status} ${response.statusText}.`)
  }
}

async function json<T>(path: string, options: Options = {}): Promise<T> {
  return (await call(path, options)).json() as Promise<T>
}

export const models = async (): Promise<Model[]> => (await json<{ data: Model[] }>('/v1/models')).data
export const tokenizerInfo = (): Promise<TokenizerInfo> => json('/tokenizer_info')
export const getSession = (session: string): Promise<SessionDetail> => json(`/v1/sessions/${id(session)}`)
export const createSession = (fields: { tokens?: number[]; metadata?: Record<string, string> }): Promise<Session> =>
  json('/v1/sessions', { json: fields })
export const importSession = (file: Blob): Promise<Session> => json('/v1/sessions', { body: file })
export const fork = (session: string, metadata: Record<string, string>, expected_turn: number): Promise<Session> =>
  json(`/v1/sessions/${id(session)}/fork`, { json: { metadata, expected_turn } })
export const patch = (session: string, fields: Record<string, unknown>): Promise<Session> =>
  json(`/v1/sessions/${id(session)}`, { method: 'PATCH', json: fields })
export const remove = (session: string): Promise<unknown> =>
  json(`/v1/sessions/${id(session)}`, { method: 'DELETE' })
export const cancel = (session: string): Promise<Session> =>
  json(`/v1/sessions/${id(session)}/cancel`, { method: 'POST' })
export const rollback = (session: string, target: { turns: number } | { snapshot: string }): Promise<Session> =>
  json(`/v1/sessions/${id(session)}/rollback`, { json: target })
export const saveSnapshot = (session: string, name: string): Promise<Session> =>
  json(`/v1/sessions/${id(session)}/snapshots`, { json: { name } })
export const deleteSnapshot = (session: string, name: string): Promise<Session> =>
  json(`/v1/sessions/${id(session)}/snapshots/${encodeURIComponent(name)}`, { method: 'DELETE' })
export const exportState = async (session: string): Promise<Blob> =>
  (await call(`/v1/sessions/${id(session)}/state?tokens=true`)).blob()
export const detokenize = async (tokens: number[]): Promise<string> =>
  tokens.length ? (await json<{ prompt: string }>('/detokenize', { json: { tokens } })).prompt : ''
export const tokenize = async (fields: Record<string, unknown>): Promise<number[]> =>
  (await json<{ tokens: number[] }>('/tokenize', { json: fields })).tokens

export async function isReady(): Promise<boolean> {
  try {
    return (await fetch(address('/ready'), { cache: 'no-store' })).ok
  } catch {
    return false
  }
}

/** All sessions of the key, page by page. */
export async function allSessions(signal?: AbortSignal): Promise<Session[]> {
  const found: Session[] = []
  let after = ''
  for (;;) {
    const path = `/v1/sessions?limit=1000${after && `&after=${encodeURIComponent(after)}`}`
    const page = await json<{ data: Session[]; last_id: string | null; has_more: boolean }>(path, { signal })
    found.push(...page.data)
    if (!page.has_more || !page.last_id) return found
    after = page.last_id
  }
}

/** Stream a reply into a session. Chat where `messages` are sent, else a completion. */
export async function* streamReply(
  body: Record<string, unknown>,
  key: string,
  signal: AbortSignal,
): AsyncGenerator<Part> {
  const path = 'messages' in body ? '/v1/chat/completions' : '/v1/completions'
  const response = await call(path, { json: body, headers: { 'idempotency-key': key }, signal })
  for await (const data of events(response.body!)) {
    if (data === '[DONE]') return
    const event = JSON.parse(data)
    if (event.error) throw new ApiError(500, event.error.code ?? '', event.error.message)
    const choice = event.choices?.[0]
    yield {
      text: choice?.delta?.content ?? choice?.text ?? '',
      finish: choice?.finish_reason ?? undefined,
      session: choice?.session ?? event.session,
      usage: event.usage ?? undefined,
    }
  }
  throw new ApiError(0, 'cut', 'The connection ended in the middle of the reply.')
}

async function* events(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = stream.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => {
        throw new ApiError(0, 'cut', 'The connection ended in the middle of the reply.')
      })
      if (done) return
      const lines = (rest + value).split('\n')
      rest = lines.pop()!
      for (const line of lines) if (line.startsWith('data: ')) yield line.slice(6).trimEnd()
    }
  } finally {
    reader.cancel().catch(() => undefined)
  }
}
