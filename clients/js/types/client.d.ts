/** @typedef {import('./types.js').CallOptions} CallOptions */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Json} Json */
/** @typedef {import('./replies.js').Fields} Fields */
export const DEFAULT_URL: "http://127.0.0.1:8000";
/**
 * @typedef {object} ClientOptions
 * @property {string | URL} [baseUrl] the server's address without the trailing /v1
 * @property {string} [apiKey] sent as a bearer token
 * @property {number} [timeoutMs] time without a byte from the server after which a call fails
 * @property {Partial<import('./retries.js').RetryPolicy>} [retries]
 * @property {typeof fetch} [fetch] sends the requests; that of the platform by default
 */
/** Client of one server. Every failure is a PararnnError, except those of an AbortSignal. */
export class PararnnClient {
    /** @param {ClientOptions} [options] */
    constructor({ baseUrl, apiKey, timeoutMs, retries, fetch: send }?: ClientOptions);
    sessions: Sessions;
    /**
     * Return a reply to `prompt` (text or token ids).
     * @param {string | ArrayLike<number>} prompt
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').Completion>}
     */
    complete(prompt: string | ArrayLike<number>, fields?: Fields, options?: CallOptions): Promise<import("./types.js").Completion>;
    /**
     * Return a reply to `prompt` as a stream.
     * @param {string | ArrayLike<number>} prompt
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Stream}
     */
    stream(prompt: string | ArrayLike<number>, fields?: Fields, options?: CallOptions): Stream;
    /**
     * Return a reply to a list of {role, content}.
     * @param {Message[]} messages
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Promise<import('./types.js').Completion>}
     */
    chat(messages: Message[], fields?: Fields, options?: CallOptions): Promise<import("./types.js").Completion>;
    /**
     * Return a reply to a list of {role, content} as a stream.
     * @param {Message[]} messages
     * @param {Fields} [fields]
     * @param {CallOptions} [options]
     * @returns {Stream}
     */
    streamChat(messages: Message[], fields?: Fields, options?: CallOptions): Stream;
    /** Return the served models. @param {CallOptions} [options] @returns {Promise<Json>} */
    models(options?: CallOptions): Promise<Json>;
    /**
     * Return the token ids of a prompt or of messages, as a generating route reads them.
     * @param {Fields} fields
     * @param {CallOptions} [options]
     * @returns {Promise<Json & { tokens: number[] }>}
     */
    tokenize(fields: Fields, options?: CallOptions): Promise<Json & {
        tokens: number[];
    }>;
    /** Return the text of token ids. @param {ArrayLike<number>} tokens @param {CallOptions} [options] @returns {Promise<string>} */
    detokenize(tokens: ArrayLike<number>, options?: CallOptions): Promise<string>;
    /** Return facts about the tokenizer, such as its chat template. @param {CallOptions} [options] @returns {Promise<Json>} */
    tokenizerInfo(options?: CallOptions): Promise<Json>;
    /**
     * Yield a snapshot of the key's sessions and budgets, then changes. The admin key sees those of all keys.
     * @param {CallOptions} [options]
     * @returns {AsyncGenerator<import('./monitor.js').MonitorEvent, void, undefined>}
     */
    monitor(options?: CallOptions): AsyncGenerator<import("./monitor.js").MonitorEvent, void, undefined>;
    /** Return true if the server takes new work now. It is asked once. @param {CallOptions} [options] @returns {Promise<boolean>} */
    isReady(options?: CallOptions): Promise<boolean>;
    #private;
}
export type CallOptions = import("./types.js").CallOptions;
export type Message = import("./types.js").Message;
export type Json = import("./types.js").Json;
export type Fields = import("./replies.js").Fields;
export type ClientOptions = {
    /**
     * the server's address without the trailing /v1
     */
    baseUrl?: string | URL | undefined;
    /**
     * sent as a bearer token
     */
    apiKey?: string | undefined;
    /**
     * time without a byte from the server after which a call fails
     */
    timeoutMs?: number | undefined;
    retries?: Partial<import("./retries.js").RetryPolicy> | undefined;
    /**
     * sends the requests; that of the platform by default
     */
    fetch?: typeof fetch | undefined;
};
import { Sessions } from './sessions.js';
import { Stream } from './stream.js';
