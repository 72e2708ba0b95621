// Branches of a conversation. The server forks its last turn; an earlier one is read again from the token log.
import { createSession, exportState, fork, getSession, type Session } from './api'
import { tokensOf } from './statefile'
import { load, save, type Exchange } from './transcripts'

/** Make a session that continues after the first `kept` exchanges of another. */
export async function branch(from: string, exchanges: Exchange[], kept: number): Promise<Session> {
  const parent = await getSession(from)
  const inherited = exchanges.slice(0, kept)
  const last = inherited.at(-1)
  const isWhole = last?.turn === parent.turn
  const metadata: Record<string, string> = {
    title: `${parent.metadata.title ?? 'Conversation'}`.slice(0, 200),
    fork_of: from,
    fork_at: String(kept),
  }
  let child: Session
  if (isWhole) child = await fork(from, metadata, parent.turn)
  else if (!last) child = await createSession({ metadata })
  else {
    const { tokens, start } = await tokensOf(await exportState(from))
    if (start > 0 || tokens.length < last.tokens)
      throw new Error('The server no longer has the tokens of this turn, so nothing can continue from it.')
    child = await createSession({ tokens: tokens.slice(0, last.tokens), metadata })
  }
  // The turns of the child count from what it was made with.
  const shift = child.turn - (last?.turn ?? 0)
  const copies = inherited.map((each) => ({ ...each, turn: isWhole ? each.turn : each.turn + shift }))
  await save({ id: child.id, exchanges: copies, pins: {}, used: Date.now() })
  return child
}

export const exchangesOf = async (id: string): Promise<Exchange[]> => (await load(id))?.exchanges ?? []
