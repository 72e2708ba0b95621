/** `client.sessions`. */
export class Sessions {
    /** @param {import('./transport.js').Transport} transport */
    constructor(transport: import("./transport.js").Transport);
    /**
     * Create a session. text, tokens: read at once.
     * @param {Kept & { text?: string, tokens?: ArrayLike<number> }} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    create(fields?: Kept & {
        text?: string;
        tokens?: ArrayLike<number>;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Return a page of this key's sessions. after: the last id of the page before.
     * @param {{ limit?: number, after?: string }} [query]
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').SessionList>}
     */
    list(query?: {
        limit?: number;
        after?: string;
    }, options?: CallOptions): Promise<import("./types.js").SessionList>;
    /**
     * Yield all sessions of this key, page by page.
     * @param {{ limit?: number }} [query]
     * @param {CallOptions} [options]
     * @returns {AsyncGenerator<Session, void, undefined>}
     */
    all({ limit }?: {
        limit?: number;
    }, options?: CallOptions): AsyncGenerator<Session, void, undefined>;
    /**
     * Return the session at its last committed turn, with its turns and snapshots.
     * @param {string} id
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').SessionDetail>}
     */
    get(id: string, options?: CallOptions): Promise<import("./types.js").SessionDetail>;
    /**
     * Change the fields that are given. pinned: it never expires and stays in the server's memory.
     * @param {string} id
     * @param {{ metadata?: Record<string, string>, ttl_seconds?: number | null, pinned?: boolean, expected_turn?: number }} fields
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    update(id: string, fields: {
        metadata?: Record<string, string>;
        ttl_seconds?: number | null;
        pinned?: boolean;
        expected_turn?: number;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Append `text` or `tokens` to a session without a reply.
     * @param {string} id
     * @param {{ text?: string, tokens?: ArrayLike<number>, expected_turn?: number, timeout?: number }} fields
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    append(id: string, fields: {
        text?: string;
        tokens?: ArrayLike<number>;
        expected_turn?: number;
        timeout?: number;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Create a session that continues from the last committed turn of this one.
     * @param {string} id
     * @param {{ metadata?: Record<string, string>, expected_turn?: number }} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    fork(id: string, fields?: {
        metadata?: Record<string, string>;
        expected_turn?: number;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Save the session's current state under a name.
     * @param {string} id
     * @param {string} name
     * @param {{ expected_turn?: number }} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    saveSnapshot(id: string, name: string, fields?: {
        expected_turn?: number;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Delete a named snapshot.
     * @param {string} id
     * @param {string} name
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    deleteSnapshot(id: string, name: string, options?: CallOptions): Promise<Session>;
    /**
     * Undo the last `turns` turns, or return to a named snapshot.
     * @param {string} id
     * @param {{ turns?: number, snapshot?: string, expected_turn?: number }} target
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    rollBack(id: string, target: {
        turns?: number;
        snapshot?: string;
        expected_turn?: number;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Return the session as the bytes of a safetensors file. tokens: include its token log.
     * @param {string} id
     * @param {{ tokens?: boolean }} [query]
     * @param {CallOptions} [options]
     * @returns {Promise<Uint8Array<ArrayBuffer>>}
     */
    export(id: string, { tokens }?: {
        tokens?: boolean;
    }, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>>;
    /**
     * Create a session from an exported file.
     * @param {File} file
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    importNew(file: File, options?: CallOptions): Promise<Session>;
    /**
     * Replace a session's state by an exported file, as one more turn.
     * @param {string} id
     * @param {File} file
     * @param {{ expected_turn?: number }} [query]
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    importInto(id: string, file: File, query?: {
        expected_turn?: number;
    }, options?: CallOptions): Promise<Session>;
    /**
     * Continue a session. prompt: only the new text; if empty, the reply continues the session's text.
     * @param {string} id
     * @param {string | ArrayLike<number>} [prompt]
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').Completion>}
     */
    generate(id: string, prompt?: string | ArrayLike<number>, fields?: Fields, options?: CallOptions): Promise<import("./types.js").Completion>;
    /**
     * Continue a session, as a stream.
     * @param {string} id
     * @param {string | ArrayLike<number>} [prompt]
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Stream}
     */
    stream(id: string, prompt?: string | ArrayLike<number>, fields?: Fields, options?: CallOptions): Stream;
    /**
     * Continue a session by chat. messages: only the new ones.
     * @param {string} id
     * @param {Message[]} messages
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').Completion>}
     */
    chat(id: string, messages: Message[], fields?: Fields, options?: CallOptions): Promise<import("./types.js").Completion>;
    /**
     * Continue a session by chat, as a stream.
     * @param {string} id
     * @param {Message[]} messages
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Stream}
     */
    streamChat(id: string, messages: Message[], fields?: Fields, options?: CallOptions): Stream;
    /**
     * End the running reply and keep its delivered part. Without a running reply nothing changes.
     * @param {string} id
     * @param {CallOptions} [options]
     * @returns {Promise<Session>}
     */
    cancel(id: string, options?: CallOptions): Promise<Session>;
    /**
     * Delete the session and end its running reply.
     * @param {string} id
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').Json>}
     */
    delete(id: string, options?: CallOptions): Promise<import("./types.js").Json>;
    #private;
}
export type CallOptions = import("./types.js").CallOptions;
export type Session = import("./types.js").Session;
export type Message = import("./types.js").Message;
export type Fields = import("./replies.js").Fields;
export type Kept = {
    metadata?: Record<string, string>;
    ttl_seconds?: number;
    model?: string;
};
/**
 * bytes, a Blob or a file of a form
 */
export type File = BodyInit;
import { Stream } from './stream.js';
