// Decoding of server-sent events from bytes in pieces of any size.

export const DONE = '[DONE]'

/** @typedef {{ data: string, id: string | null }} ServerEvent */

/** A decoder of events. It drops comments (`: ping`) and all fields except data and id. */
export class EventDecoder {
  #text = new TextDecoder('utf-8', { ignoreBOM: true })
  #partial = ''
  /** @type {string[]} */
  #data = []
  /** @type {string | null} */
  #id = null

  /**
   * Return the events that these bytes complete. They may be cut anywhere.
   * @param {Uint8Array} piece
   * @returns {ServerEvent[]}
   */
  feed(piece) {
    const text = this.#text.decode(piece, { stream: true })
    this.#partial += text
    // A long line that comes in many pieces is searched only once.
    if (!text.includes('\n')) return []
    const lines = this.#partial.split('\n')
    this.#partial = /** @type {string} */ (lines.pop())
    /** @type {ServerEvent[]} */
    const events = []
    for (const line of lines) this.#takeLine(line.endsWith('\r') ? line.slice(0, -1) : line, events)
    return events
  }

  /** @param {string} line @param {ServerEvent[]} events */
  #takeLine(line, events) {
    const value = (/** @type {string} */ name) => line.slice(name.length).replace(/^ /, '')
    if (line.startsWith('data:')) this.#data.push(value('data:'))
    else if (line.startsWith('id:')) this.#id = value('id:')
    // Only an empty line ends an event, and one after a comment ends nothing.
    if (line || !this.#data.length) return
    events.push({ data: this.#data.join('\n'), id: this.#id })
    this.#data = []
  }
}
