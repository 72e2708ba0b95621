// What all views share: where the page is, the server behind it, and messages to the person.
import { getKey, isAway, isReady, models, setKey, tokenizerInfo, Unauthorized, type Model, type TokenizerInfo } from './api'

export type View = 'chat' | 'memory'
export interface Notice {
  id: number
  text: string
  kind: 'info' | 'error'
  action?: { label: string; run: () => void }
}

const RETRY_MS = 700

class AppState {
  view = $state<View>('chat')
  session = $state('')
  link = $state<'connecting' | 'up' | 'away' | 'key'>('connecting')
  model = $state<Model | null>(null)
  tokenizer = $state<TokenizerInfo | null>(null)
  notices = $state<Notice[]>([])
  hasKey = $state(getKey() !== '')
  keyRefused = $state(false)
  /** Counts returns of the server, so that views look again. */
  returns = $state(0)
  now = $state(Date.now() / 1000)
  private next = 1
  private waiting = false

  constructor() {
    this.readAddress()
    addEventListener('hashchange', () => this.readAddress())
    setInterval(() => (this.now = Date.now() / 1000), 1000)
    void this.connect()
  }

  get chats(): boolean {
    return !!this.tokenizer?.chat_template && this.tokenizer.chat_into_session
  }

  readAddress(): void {
    const [, view = '', session = ''] = location.hash.split('/')
    this.view = view === 'memory' ? view : 'chat'
    this.session = /^sess_[0-9a-f]+$/.test(session) ? session : ''
  }

  go(view: View, session = this.session): void {
    location.hash = `#/${view}${session && view !== 'memory' ? `/${session}` : ''}`
    if (view === 'memory') this.view = 'memory'
  }

  say(text: string, kind: Notice['kind'] = 'info', action?: Notice['action']): void {
    const id = this.next++
    this.notices = [...this.notices.slice(-3), { id, text, kind, action }]
    setTimeout(() => this.dismiss(id), kind === 'error' ? 12000 : 6000)
  }

  dismiss(id: number): void {
    this.notices = this.notices.filter((each) => each.id !== id)
  }

  /** Show an error, or wait for the server or a key where that is what is missing. */
  fail(error: unknown, action?: Notice['action']): void {
    if (error instanceof DOMException && error.name === 'AbortError') return
    if (error instanceof Unauthorized) return this.askForKey()
    if (isAway(error)) return void this.waitForServer()
    this.say(error instanceof Error ? error.message : String(error), 'error', action)
  }

  askForKey(): void {
    this.keyRefused = getKey() !== ''
    this.link = 'key'
  }

  useKey(key: string): void {
    try {
      setKey(key)
    } catch (error) {
      return this.say(error instanceof Error ? error.message : String(error), 'error')
    }
    this.hasKey = key !== ''
    this.keyRefused = false
    this.link = 'connecting'
    void this.connect()
  }

  async connect(): Promise<void> {
    try {
      const [found, tokenizer] = await Promise.all([models(), tokenizerInfo()])
      this.model = found[0] ?? null
      this.tokenizer = tokenizer
      this.link = 'up'
      this.returns++
    } catch (error) {
      if (error instanceof Unauthorized) this.askForKey()
      else void this.waitForServer()
    }
  }

  /** Resolve once the server answers again. */
  async waitForServer(): Promise<void> {
    if (this.link !== 'connecting') this.link = 'away'
    if (this.waiting) return this.untilUp()
    this.waiting = true
    while (!(await isReady())) {
      this.link = 'away'
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    this.waiting = false
    await this.connect()
  }

  private async untilUp(): Promise<void> {
    while (this.link !== 'up' && this.link !== 'key') await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

export const app = new AppState()
