/**
 * One HTTP request and the reader of its answer.
 * @template T
 * @typedef {object} Call
 * @property {'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} method
 * @property {string} path
 * @property {(body: any) => T} parse reads the answer's JSON, or its bytes if `isFile`
 * @property {import('./types.js').Json} [json]
 * @property {BodyInit} [file]
 * @property {Record<string, string | number | boolean | undefined>} [query]
 * @property {Record<string, string>} [headers]
 * @property {boolean} [repeatable] sending it twice has the same effect as once
 * @property {boolean} [once] it is never repeated
 * @property {boolean} [isFile]
 */
/** @typedef {import('./types.js').CallOptions} CallOptions */
/**
 * @typedef {object} Settings
 * @property {string | URL} baseUrl
 * @property {string} [apiKey]
 * @property {number} timeoutMs
 * @property {import('./retries.js').RetryPolicy} retries
 * @property {typeof fetch} fetch
 */
export class Transport {
    /** @param {Settings} settings */
    constructor(settings: Settings);
    /**
     * Send a call and return its result.
     * @template T
     * @param {Call<T>} call
     * @param {CallOptions} [options]
     * @returns {Promise<T>}
     */
    send<T>(call: Call<T>, options?: CallOptions): Promise<T>;
    /**
     * Return the answer after its status is checked and before its body is read.
     * @param {Call<any>} call
     * @param {CallOptions} [options]
     * @returns {Promise<Answer>}
     */
    open(call: Call<any>, options?: CallOptions): Promise<Answer>;
    #private;
}
/**
 * One HTTP request and the reader of its answer.
 */
export type Call<T> = {
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
    path: string;
    /**
     * reads the answer's JSON, or its bytes if `isFile`
     */
    parse: (body: any) => T;
    json?: import("./types.js").Json | undefined;
    file?: BodyInit | undefined;
    query?: Record<string, string | number | boolean | undefined> | undefined;
    headers?: Record<string, string> | undefined;
    /**
     * sending it twice has the same effect as once
     */
    repeatable?: boolean | undefined;
    /**
     * it is never repeated
     */
    once?: boolean | undefined;
    isFile?: boolean | undefined;
};
export type CallOptions = import("./types.js").CallOptions;
export type Settings = {
    baseUrl: string | URL;
    apiKey?: string | undefined;
    timeoutMs: number;
    retries: import("./retries.js").RetryPolicy;
    fetch: typeof fetch;
};
import { Answer } from './answer.js';
