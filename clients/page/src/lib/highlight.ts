// Colours of code: kinds and texts, which are shown as elements. The languages are loaded with the first code.
import type { ElementContent, Root } from 'hast'

export type Piece = [kind: string, text: string]

const KINDS: Record<string, string> = {
  'hljs-keyword': 'keyword', 'hljs-built_in': 'keyword', 'hljs-literal': 'keyword', 'hljs-tag': 'keyword', 'hljs-name': 'keyword',
  'hljs-string': 'string', 'hljs-regexp': 'string', 'hljs-comment': 'comment', 'hljs-number': 'number',
  'hljs-title': 'title', 'hljs-attr': 'title', 'hljs-attribute': 'title', 'hljs-section': 'title', 'hljs-type': 'title',
}
const LARGEST = 40_000

let loaded: Promise<typeof import('./languages')> | undefined

export async function highlighted(code: string, language: string): Promise<Piece[] | null> {
  if (!language || code.length > LARGEST) return null
  const { languages } = await (loaded ??= import('./languages'))
  if (!languages.registered(language)) return null
  const pieces: Piece[] = []
  collect(languages.highlight(language, code), '', pieces)
  return pieces
}

function collect(node: Root | ElementContent, kind: string, into: Piece[]): void {
  if (node.type === 'text') into.push([kind, node.value])
  else if (node.type === 'element' || node.type === 'root') {
    const names = node.type === 'element' ? ((node.properties.className as string[] | undefined) ?? []) : []
    const own = names.map((name) => KINDS[name]).find(Boolean) ?? kind
    for (const child of node.children) collect(child as ElementContent, own, into)
  }
}
