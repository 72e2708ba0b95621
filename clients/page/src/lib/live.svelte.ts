// The sessions of the key, kept up to date.
import { allSessions, type Session } from './api'
import { app } from './app.svelte'

const EVERY_MS = 1500
const SLOW_MS = 5000
const MANY = 2000

class Live {
  sessions = $state.raw<Session[]>([])
  loaded = $state(false)
  /** Tokens of all sessions and bytes of all states, a point for each look. */
  history = $state.raw<{ time: number; tokens: number; bytes: number }[]>([])
  private seen = new Map<string, { tokens: number; time: number; rate: number }>()
  private timer = 0
  private looking = false

  start(): () => void {
    const look = async (): Promise<void> => {
      if (!document.hidden && app.link === 'up') await this.refresh()
      this.timer = window.setTimeout(look, this.sessions.length > MANY ? SLOW_MS : EVERY_MS)
    }
    void look()
    return () => clearTimeout(this.timer)
  }

  async refresh(): Promise<void> {
    if (this.looking) return
    this.looking = true
    try {
      this.take(await allSessions())
    } catch (error) {
      app.fail(error)
    } finally {
      this.looking = false
    }
  }

  take(found: Session[]): void {
    const time = performance.now() / 1000
    const seen = new Map<string, { tokens: number; time: number; rate: number }>()
    let tokens = 0
    let bytes = 0
    for (const session of found) {
      const before = this.seen.get(session.id)
      const grown = before ? session.num_tokens - before.tokens : 0
      const rate = before && grown > 0 ? grown / Math.max(time - before.time, 0.1) : 0
      seen.set(session.id, { tokens: session.num_tokens, time, rate })
      session.tokens_per_second = rate
      tokens += session.num_tokens
      bytes += session.state_bytes
    }
    this.seen = seen
    this.sessions = found
    this.loaded = true
    this.history = [...this.history.slice(-299), { time: Date.now() / 1000, tokens, bytes }]
  }

  clear(): void {
    this.sessions = []
    this.history = []
    this.loaded = false
  }
}

export const live = new Live()

export const titleOf = (session: Session): string => session.metadata.title || `Session ${session.id.slice(5, 13)}`
