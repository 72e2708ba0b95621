// One conversation: its session on the server, its texts here, and the reply that runs.
import * as api from './api'
import { isAway, StatusError, Unauthorized, type SessionDetail } from './api'
import { app } from './app.svelte'
import { branch } from './branch'
import { restored } from './restore'
import { requestFields, sampling } from './settings.svelte'
import { load, save, type Exchange, type Pending } from './transcripts'

const BUSY_RETRIES = 20
const BUSY_MS = 300
const TITLE_CHARS = 60

class Conversation {
  id = $state('')
  detail = $state.raw<SessionDetail | null>(null)
  exchanges = $state.raw<Exchange[]>([])
  /** The exchange that runs, or null. */
  running = $state.raw<Exchange | null>(null)
  status = $state<'idle' | 'opening' | 'waiting' | 'streaming' | 'stopping' | 'reconnecting' | 'failed'>('idle')
  failure = $state('')
  /** Said once a killed server has the session again. */
  resumedAt = $state<number | null>(null)
  private pins: Record<string, Exchange[]> = {}
  private pending: Pending | undefined
  private abort: AbortController | undefined
  private opening = ''

  get busy(): boolean {
    return ['waiting', 'streaming', 'stopping', 'reconnecting'].includes(this.status)
  }

  async open(id: string): Promise<void> {
    if (id === this.id || (id && id === this.opening)) return
    this.reset()
    if (!id) return
    this.opening = id
    this.status = 'opening'
    try {
      await this.read(id)
    } catch (error) {
      if (this.opening !== id) return
      this.opening = ''
      this.status = 'failed'
      this.failure = error instanceof Error ? error.message : String(error)
      if (isAway(error)) {
        await app.waitForServer()
        if (app.session === id) await this.open(id)
      } else if (error instanceof Unauthorized) app.fail(error)
    }
  }

  private async read(id: string): Promise<void> {
    const [detail, kept] = await Promise.all([api.getSession(id), load(id)])
    const exchanges = await restored(detail, kept?.exchanges ?? [], app.chats)
    if (this.opening !== id) return
    this.id = id
    this.opening = ''
    this.detail = detail
    this.exchanges = exchanges
    this.pins = kept?.pins ?? {}
    this.pending = kept?.pending
    this.status = 'idle'
    // A reload left a request without its answer: the same key brings the same reply, or the one that was kept.
    if (this.pending) void this.run(this.pending)
    else await this.keep()
  }

  reset(): void {
    this.abort?.abort()
    this.abort = undefined
    this.opening = this.id = this.failure = ''
    this.detail = null
    this.exchanges = []
    this.running = null
    this.pending = undefined
    this.pins = {}
    this.status = 'idle'
    this.resumedAt = null
  }

  private keep(): Promise<void> {
    return save({
      id: this.id,
      exchanges: this.exchanges,
      pins: this.pins,
      pending: this.pending && $state.snapshot(this.pending),
      used: 0,
    })
  }

  async refresh(): Promise<void> {
    if (this.id) this.detail = await api.getSession(this.id)
  }

  /** Send a message, into a new session if none is open. Null continues the text. */
  async send(text: string | null): Promise<void> {
    if (this.busy) return
    this.resumedAt = null
    try {
      if (!this.id) await this.create(text)
      const opening = this.exchanges.length === 0 && app.chats && sampling.system.trim()
      const messages = [
        ...(opening ? [{ role: 'system', content: sampling.system.trim() }] : []),
        { role: 'user', content: text ?? '' },
      ]
      const body = {
        model: app.model?.id,
        session_id: this.id,
        ...(app.chats ? { messages } : { prompt: text ?? '' }),
        ...requestFields(),
        seed: sampling.seed ?? Math.floor(Math.random() * 2 ** 31),
      }
      await this.run({ key: crypto.randomUUID?.() ?? String(Math.random()), user: text, body, turn: this.detail?.turn ?? 0 })
    } catch (error) {
      app.fail(error)
    }
  }

  private async create(text: string | null): Promise<void> {
    const title = (text ?? 'Untitled').replace(/\s+/g, ' ').trim().slice(0, TITLE_CHARS)
    const session = await api.createSession({ metadata: { title: title || 'Untitled' } })
    this.detail = { ...session, turns: [], snapshots: {} }
    this.id = session.id
    app.go('chat', session.id)
  }

  private async run(pending: Pending): Promise<void> {
    const id = this.id
    this.pending = pending
    this.failure = ''
    await this.keep()
    let wasAway = false
    for (let attempt = 0; ; attempt++) {
      const abort = (this.abort = new AbortController())
      try {
        await this.stream(pending, abort.signal)
        if (wasAway && this.id === id) this.resumedAt = this.exchanges.length
        return
      } catch (error) {
        if (this.id !== id || abort.signal.aborted) return
        const isBusy = error instanceof StatusError && error.status === 409 && error.code === 'session_busy'
        if (isBusy && attempt < BUSY_RETRIES) {
          // The server has not noticed yet that the page was left.
          this.status = 'reconnecting'
          await new Promise((resolve) => setTimeout(resolve, BUSY_MS))
          continue
        }
        if (isAway(error)) {
          this.status = 'reconnecting'
          wasAway = true
          await app.waitForServer()
          if (this.id !== id) return
          continue
        }
        this.pending = undefined
        this.running = null
        this.status = 'idle'
        this.failure = error instanceof Error ? error.message : String(error)
        if (error instanceof Unauthorized) app.fail(error)
        this.unsent = pending.user ?? ''
        await this.keep()
        return
      }
    }
  }

  /** The message of a request that was refused, for the composer. */
  unsent = $state('')

  private async stream(pending: Pending, signal: AbortSignal): Promise<void> {
    const began = performance.now()
    // What was shown before a connection broke stays until the same text has come again.
    const shown = this.running?.reply ?? ''
    let reply = ''
    let firstToken = 0
    let usage: api.Usage | null = null
    let session: api.Chunk['session'] = null
    let finish: string | null = null
    if (!shown) {
      this.running = { user: pending.user, reply: '', turn: pending.turn + 1, tokens: 0 }
      this.status = 'waiting'
    }
    let frame = 0
    const show = (): void => {
      frame = 0
      const text = reply.length < shown.length && shown.startsWith(reply) ? shown : reply
      if (this.running) this.running = { ...this.running, reply: text }
    }
    try {
      for await (const part of api.streamReply(pending.body, pending.key, signal)) {
        if (part.text) {
          firstToken ||= performance.now() - began
          if (this.status !== 'stopping') this.status = 'streaming'
          reply += part.text
          // A hidden tab gets no frames; a timer is enough for both.
          frame ||= window.setTimeout(show, 33)
        }
        usage = part.usage ?? usage
        session = part.session ?? session
        finish = part.finish_reason ?? finish
      }
    } finally {
      clearTimeout(frame)
    }
    if (signal.aborted) return
    const done: Exchange = {
      user: pending.user,
      reply,
      turn: session?.turn ?? pending.turn + 1,
      tokens: session?.num_tokens ?? 0,
      finish: finish ?? undefined,
      stats: {
        promptTokens: usage?.prompt_tokens ?? 0,
        cachedTokens: usage?.cached_tokens ?? 0,
        tokens: usage?.completion_tokens ?? 0,
        firstToken: firstToken / 1000,
        duration: (performance.now() - began) / 1000,
        seed: Number(pending.body.seed),
      },
    }
    this.exchanges = [...this.exchanges, done]
    this.running = null
    this.pending = undefined
    this.status = 'idle'
    await this.keep()
    await this.refresh()
  }

  async stop(): Promise<void> {
    if (!this.busy) return
    this.status = 'stopping'
    await api.cancel(this.id).catch((error) => app.fail(error))
  }

  /** Undo turns, so that `kept` exchanges stay. */
  async rollbackTo(kept: number): Promise<boolean> {
    const turns = (this.detail?.turn ?? 0) - (this.exchanges[kept - 1]?.turn ?? (this.exchanges[0]?.turn ?? 1) - 1)
    try {
      await api.rollback(this.id, { turns })
      this.exchanges = this.exchanges.slice(0, kept)
      await this.keep()
      await this.refresh()
      return true
    } catch (error) {
      const action = { label: 'Fork from here', run: () => void this.forkAt(kept) }
      app.fail(error, error instanceof StatusError && error.status === 400 ? action : undefined)
      return false
    }
  }

  /** Answer the last message again, with another seed. */
  async regenerate(): Promise<void> {
    const last = this.exchanges.at(-1)
    if (!last || this.busy) return
    if (await this.rollbackTo(this.exchanges.length - 1)) await this.send(last.user)
  }

  async forkAt(kept: number): Promise<string> {
    try {
      const child = await branch(this.id, this.exchanges, kept)
        app.go('chat', child.id)
      await this.open(child.id)
      app.say(kept ? `Forked after message ${kept}.` : 'Forked at the beginning.')
      return child.id
    } catch (error) {
      app.fail(error)
      return ''
    }
  }

  /** Put another message in the place of an earlier one, in a branch of its own. */
  async editAndFork(index: number, text: string): Promise<void> {
    if (await this.forkAt(index)) await this.send(text)
  }

  async pin(name: string): Promise<void> {
    try {
      await api.saveSnapshot(this.id, name)
      this.pins = { ...this.pins, [name]: this.exchanges }
      await this.keep()
      await this.refresh()
    } catch (error) {
      app.fail(error)
    }
  }

  async unpin(name: string): Promise<void> {
    try {
      await api.deleteSnapshot(this.id, name)
      const { [name]: _, ...rest } = this.pins
      this.pins = rest
      await this.keep()
      await this.refresh()
    } catch (error) {
      app.fail(error)
    }
  }

  async restorePin(name: string): Promise<void> {
    try {
      await api.rollback(this.id, { snapshot: name })
      const detail = await api.getSession(this.id)
      const texts = this.pins[name] ?? this.exchanges.filter((each) => each.turn <= detail.turn)
      this.exchanges = await restored(detail, texts, app.chats)
      this.detail = detail
      await this.keep()
      app.say(`Back at “${name}”, message ${this.exchanges.length}.`)
    } catch (error) {
      app.fail(error)
    }
  }

  async rename(title: string): Promise<void> {
    if (!this.detail) return
    try {
      await api.patch(this.id, { metadata: { ...this.detail.metadata, title: title.slice(0, 200) } })
      await this.refresh()
      } catch (error) {
      app.fail(error)
    }
  }
}

export const conversation = new Conversation()
