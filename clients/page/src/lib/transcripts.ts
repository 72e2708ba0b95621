// Texts of conversations, kept in this browser. A server keeps ids and states; texts of other browsers come from its log.

export interface Stats {
  promptTokens: number
  cachedTokens: number
  tokens: number
  firstToken: number
  duration: number
  seed: number
}

/** One turn as it is shown. tokens: length of the session after it; 0 while that is not known. */
export interface Exchange {
  user: string | null
  reply: string
  turn: number
  tokens: number
  finish?: string
  stats?: Stats
  origin?: 'log' | 'import'
  note?: string
}

/** A request that has no answer yet. It is sent again with the same key and seed, so the reply is the same. */
export interface Pending {
  key: string
  user: string | null
  body: Record<string, unknown>
  turn: number
}

export interface Transcript {
  id: string
  exchanges: Exchange[]
  pins: Record<string, Exchange[]>
  pending?: Pending
  used: number
}

const STORE = 'transcripts'
const MOST = 500

let opened: Promise<IDBDatabase> | undefined

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('pararnn', 1)
    request.onupgradeneeded = () =>
      request.result.createObjectStore(STORE, { keyPath: 'id' }).createIndex('used', 'used')
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
  return opened
}

async function run<T>(mode: IDBTransactionMode, use: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const store = (await database()).transaction(STORE, mode).objectStore(STORE)
  return new Promise((resolve, reject) => {
    const request = use(store)
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

export async function load(id: string): Promise<Transcript | undefined> {
  // A private window may have no database: then texts come from the server's log.
  return run('readonly', (store) => store.get(id) as IDBRequest<Transcript | undefined>).catch(() => undefined)
}

export async function save(transcript: Transcript): Promise<void> {
  await run('readwrite', (store) => store.put({ ...transcript, used: Date.now() })).catch(() => undefined)
}

export async function forget(id: string): Promise<void> {
  await run('readwrite', (store) => store.delete(id)).catch(() => undefined)
}

/** Keep the transcripts that were used last. */
export async function prune(): Promise<void> {
  const keys = await run('readonly', (store) => store.index('used').getAllKeys()).catch(() => [])
  for (const key of keys.slice(0, Math.max(0, keys.length - MOST))) await forget(String(key))
}
