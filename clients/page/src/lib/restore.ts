// Texts of turns that this browser has not seen, read from the server's token log.
import { detokenize, exportState, tokenize, type SessionDetail } from './api'
import { tokensOf } from './statefile'
import type { Exchange } from './transcripts'

const MARK = 'QqQ'
let frame: Promise<[string, string]> | undefined

/** Text that the chat template writes before and after a message. */
async function templateFrame(): Promise<[string, string]> {
  const ids = await tokenize({ messages: [{ role: 'user', content: MARK }] })
  const [before = '', after = ''] = (await detokenize(ids)).split(MARK)
  return [before, after]
}

export function withoutFrame(text: string, [before, after]: [string, string]): string {
  let found = text
  if (after && found.endsWith(after)) found = found.slice(0, -after.length)
  for (let length = before.length; length > 0; length--) {
    const tail = before.slice(-length)
    if (found.startsWith(tail)) return found.slice(length)
    if (found.trimStart().startsWith(tail.trimStart()) && tail.trim()) return found.trimStart().slice(tail.trimStart().length)
  }
  return found
}

/** Return the exchanges of a session: those known here, and the others from the log. */
export async function restored(detail: SessionDetail, known: Exchange[], chats: boolean): Promise<Exchange[]> {
  // A rollback by another client leaves texts of turns that are no more.
  const kept = known.filter((each) => each.turn <= detail.turn && (each.tokens === 0 || each.tokens <= detail.num_tokens))
  const last = kept.at(-1)
  if (detail.turn === (last?.turn ?? 0) || detail.num_tokens === 0) return kept
  const { tokens, start } = await tokensOf(await exportState(detail.id))
  let from = last?.tokens ?? 0
  const found: Exchange[] = [...kept]
  const first = detail.turns.find((turn) => turn.turn > (last?.turn ?? 0))
  const begin = first ? first.num_tokens - first.prompt_tokens - first.completion_tokens : detail.num_tokens
  const older = Math.max(from, Math.min(begin, detail.num_tokens))
  if (older - from > 1 && older > start) {
    // Turns that the server has no numbers of: an import, or more than it lists.
    const text = await detokenize(tokens.slice(Math.max(from, start) - start, older - start))
    const turn = first ? first.turn - 1 : detail.turn
    found.push({ user: text, reply: '', turn, tokens: older, origin: 'import' })
    from = older
  }
  chats &&= detail.turns.length > 0
  const around: [string, string] = chats ? await (frame ??= templateFrame().catch((): [string, string] => ['', ''])) : ['', '']
  for (const turn of detail.turns) {
    if (turn.turn <= (last?.turn ?? 0) || turn.num_tokens <= from) continue
    const middle = Math.min(from + turn.prompt_tokens, turn.num_tokens)
    const prompt = await detokenize(tokens.slice(from - start, middle - start))
    const reply = await detokenize(tokens.slice(middle - start, turn.num_tokens - start))
    found.push({ user: withoutFrame(prompt, around), reply, turn: turn.turn, tokens: turn.num_tokens, origin: 'log' })
    from = turn.num_tokens
  }
  return found
}
