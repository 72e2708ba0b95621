// The server behind the page, through the JavaScript client. A key is kept in sessionStorage and sent as a header, never in a URL.
import { ConnectionFailed, PararnnClient, StatusError, StreamFailed, Unauthorized } from 'pararnn-client'
import type { Budget, Chunk, Latency, Message, MonitorEvent, RunningReply, Session, SessionDetail, Step, Usage } from 'pararnn-client'

export { StatusError, Unauthorized }
export type { Budget, Chunk, Latency, MonitorEvent, RunningReply, Session, SessionDetail, Step, Usage }
export type Quantiles = Latency['time_to_first_token']

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

/** True where the server could not be reached, went away, or said that it cannot answer now. */
export function isAway(error: unknown): boolean {
  if (error instanceof StatusError) return error.status === 502 || error.status === 503
  return error instanceof ConnectionFailed || (error instanceof StreamFailed && error.code === null)
}

const KEY = 'pararnn-key'
export const getKey = (): string => sessionStorage.getItem(KEY) ?? ''
const connected = (key: string): PararnnClient => new PararnnClient({ baseUrl: new URL('.', document.baseURI), apiKey: key })
let client = connected(getKey())

/** Use a key from now on. Throws if no header can hold it. */
export function setKey(key: string): void {
  client = connected(key)
  if (key) sessionStorage.setItem(KEY, key)
  else sessionStorage.removeItem(KEY)
}

export const models = async (): Promise<Model[]> => (await client.models()).data
export const tokenizerInfo = async (): Promise<TokenizerInfo> => (await client.tokenizerInfo()) as TokenizerInfo
export const isReady = (): Promise<boolean> => client.isReady()
export const getSession = (id: string): Promise<SessionDetail> => client.sessions.get(id)
export const createSession = (fields: { tokens?: number[]; metadata?: Record<string, string> }): Promise<Session> =>
  client.sessions.create(fields)
export const importSession = (file: Blob): Promise<Session> => client.sessions.importNew(file)
export const fork = (id: string, metadata: Record<string, string>, expected_turn: number): Promise<Session> =>
  client.sessions.fork(id, { metadata, expected_turn })
export const patch = (id: string, fields: { metadata: Record<string, string> }): Promise<Session> =>
  client.sessions.update(id, fields)
export const remove = (id: string): Promise<unknown> => client.sessions.delete(id)
export const cancel = (id: string): Promise<Session> => client.sessions.cancel(id)
export const rollback = (id: string, target: { turns: number } | { snapshot: string }): Promise<Session> =>
  client.sessions.rollBack(id, target)
export const saveSnapshot = (id: string, name: string): Promise<Session> => client.sessions.saveSnapshot(id, name)
export const deleteSnapshot = (id: string, name: string): Promise<Session> => client.sessions.deleteSnapshot(id, name)
export const exportState = async (id: string): Promise<Blob> =>
  new Blob([await client.sessions.export(id, { tokens: true })])
export const detokenize = async (tokens: number[]): Promise<string> => (tokens.length ? client.detokenize(tokens) : '')
export const tokenize = async (fields: Record<string, unknown>): Promise<number[]> => (await client.tokenize(fields)).tokens

/** The sessions of the key, live. */
export const monitor = (signal: AbortSignal): AsyncIterable<MonitorEvent> => client.monitor({ signal })

/** Stream a reply into a session. Chat where `messages` are sent, else a completion. */
export function streamReply(body: Record<string, unknown>, key: string, signal: AbortSignal): AsyncIterable<Chunk> {
  const { session_id, messages, prompt, ...fields } = body
  const options = { idempotencyKey: key, signal }
  const id = session_id as string
  if (messages) return client.sessions.streamChat(id, messages as Message[], fields, options)
  return client.sessions.stream(id, prompt as string, fields, options)
}
