/** An answer whose status was checked. Its connection stays open until the body is read or it is closed. */
export class Answer {
    /** @param {Response} response @param {import('./watch.js').Watch} watch @param {URL} url */
    constructor(response: Response, watch: import("./watch.js").Watch, url: URL);
    response: Response;
    /**
     * Yield the body as it comes. Leaving the loop closes the connection.
     * @returns {AsyncGenerator<Uint8Array, void, undefined>}
     */
    pieces(): AsyncGenerator<Uint8Array, void, undefined>;
    /** Return the whole body. @returns {Promise<Uint8Array<ArrayBuffer>>} */
    bytes(): Promise<Uint8Array<ArrayBuffer>>;
    /** Close the connection, which ends a reply on the server. A second call does nothing. */
    close(): void;
    #private;
}
