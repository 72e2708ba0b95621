/** @param {string} data @returns {import('./types.js').Json} */
export function eventBody(data: string): import("./types.js").Json;
/** @typedef {import('./types.js').Chunk} Chunk */
/**
 * A reply as a stream of chunks, to be read once with `for await`. The request is sent when reading begins.
 * Leaving the loop early ends the reply on the server.
 * @implements {AsyncIterable<Chunk>}
 */
export class Stream implements AsyncIterable<Chunk> {
    /**
     * @param {import('./transport.js').Transport} transport
     * @param {import('./transport.js').Call<Chunk>} call
     * @param {import('./types.js').CallOptions} [options]
     */
    constructor(transport: import("./transport.js").Transport, call: import("./transport.js").Call<Chunk>, options?: import("./types.js").CallOptions);
    /** Close the connection, also while a chunk is awaited: the loop then throws an AbortError. */
    close(): void;
    /** Return the whole text. @returns {Promise<string>} */
    text(): Promise<string>;
    /** @returns {AsyncGenerator<Chunk, void, undefined>} */
    [Symbol.asyncIterator](): AsyncGenerator<Chunk, void, undefined>;
    #private;
}
export type Chunk = import("./types.js").Chunk;
