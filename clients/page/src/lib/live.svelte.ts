// The sessions of the key and what it holds, kept up to date by the server's monitor.
import { isAway, monitor, Unauthorized, type Budget, type Latency, type MonitorEvent, type RunningReply, type Session, type Step } from './api'
import { app } from './app.svelte'

/** A session in the table. num_tokens includes those of the reply that runs. */
export interface Row extends Session {
  owner: string
  tokens_per_second: number
}

const POINT_MS = 1500
const MOST_POINTS = 300
const MOST_STEPS = 160
const MANY = 2000
const MANY_MS = 1000
const AGAIN_MS = 5000

class Live {
  sessions = $state.raw<Row[]>([])
  loaded = $state(false)
  /** True where sessions of all keys are shown. */
  allKeys = $state(false)
  budgets = $state.raw<Budget[]>([])
  latency = $state.raw<Record<string, Latency>>({})
  steps = $state.raw<Step[]>([])
  /** Tokens of all sessions and bytes of all states, a point for each look. */
  history = $state.raw<{ time: number; tokens: number; bytes: number }[]>([])
  private byId = new Map<string, Row>()
  private running: RunningReply[] = []
  private budgetBy = new Map<string, Budget>()
  private abort = new AbortController()
  private published = 0
  private timer = 0

  /** Watch while the page is seen: a hidden tab would hold one of the few connections that a browser opens. */
  start(): () => void {
    const look = (): void => {
      this.abort.abort()
      if (document.hidden || app.link !== 'up') return
      this.abort = new AbortController()
      void this.watch(this.abort.signal)
    }
    document.addEventListener('visibilitychange', look)
    const points = setInterval(() => this.loaded && !document.hidden && this.addPoint(), POINT_MS)
    this.look = look
    return () => {
      document.removeEventListener('visibilitychange', look)
      clearInterval(points)
      this.abort.abort()
    }
  }

  /** Begin to watch anew. */
  look: () => void = () => undefined

  private async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const event of monitor(signal)) this.take(event)
      } catch (error) {
        if (signal.aborted) return
        // The page watches again once the server has returned, or has a key.
        if (isAway(error) || error instanceof Unauthorized) return app.fail(error)
        app.fail(error)
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
      }
    }
  }

  take(event: MonitorEvent): void {
    if (event.type === 'snapshot') {
      this.byId.clear()
      this.budgetBy.clear()
      this.steps = []
      this.allKeys = !!event.all_keys
    }
    for (const session of event.sessions) this.byId.set(session.id, { ...session, tokens_per_second: 0 })
    for (const id of event.removed ?? []) this.byId.delete(id)
    for (const each of event.budgets ?? []) this.budgetBy.set(`${each.name}|${each.owner}|${each.model}`, each)
    if (event.budgets) this.budgets = [...this.budgetBy.values()]
    if (event.latency) this.latency = event.latency
    if (event.steps) this.steps = [...this.steps, ...Object.values(event.steps).flat()].slice(-MOST_STEPS)
    if (event.running) this.running = event.running
    // Sorting very many rows four times a second would keep the page busy.
    const wait = this.byId.size > MANY && event.type === 'change' ? this.published + MANY_MS - performance.now() : 0
    if (wait <= 0) this.publish()
    else this.timer ||= window.setTimeout(() => this.publish(), wait)
  }

  private publish(): void {
    clearTimeout(this.timer)
    this.timer = 0
    this.published = performance.now()
    const rows = new Map(this.byId)
    for (const reply of this.running) {
      const row = rows.get(reply.session_id ?? '')
      if (!row) continue
      const num_tokens = row.num_tokens + reply.prompt_tokens_read + reply.completion_tokens
      rows.set(row.id, { ...row, num_tokens, tokens_per_second: reply.tokens_per_second })
    }
    this.sessions = [...rows.values()]
    if (!this.loaded) this.addPoint()
    this.loaded = true
  }

  private addPoint(): void {
    let tokens = 0
    let bytes = 0
    for (const session of this.sessions) {
      tokens += session.num_tokens
      bytes += session.state_bytes
    }
    this.history = [...this.history.slice(1 - MOST_POINTS), { time: Date.now() / 1000, tokens, bytes }]
  }

  clear(): void {
    this.abort.abort()
    this.byId.clear()
    this.budgetBy.clear()
    this.sessions = []
    this.history = []
    this.budgets = []
    this.steps = []
    this.latency = {}
    this.loaded = false
  }
}

export const live = new Live()

export const titleOf = (session: Session): string => session.metadata.title || `Session ${session.id.slice(5, 13)}`
