/**
 * Parse the server's address. Throws ConnectionFailed if it is not one.
 * @param {string | URL} baseUrl
 * @returns {URL} with a slash at its end, so that paths can be added
 */
export function parseUrl(baseUrl: string | URL): URL;
/**
 * Return the headers with the key. Throws ConnectionFailed for a key that is not valid in a header.
 * @param {string | undefined} apiKey
 * @returns {Record<string, string>}
 */
export function authorization(apiKey: string | undefined): Record<string, string>;
/**
 * Return the ConnectionFailed for an error of fetch.
 * @param {unknown} error
 * @param {URL} url
 */
export function connectionFailed(error: unknown, url: URL): ConnectionFailed;
import { ConnectionFailed } from './errors.js';
