/** Wait, or throw as soon as the signal says so. @param {number} ms @param {AbortSignal} [signal] @returns {Promise<void>} */
export function pause(ms: number, signal?: AbortSignal): Promise<void>;
/** A deadline that each byte from the server moves on, joined with the caller's signal. */
export class Watch {
    /** @param {number} timeoutMs @param {AbortSignal} [outer] */
    constructor(timeoutMs: number, outer?: AbortSignal);
    get signal(): AbortSignal;
    /** Begin the wait for the next byte. */
    touch(): void;
    /** End the watch. The connection is closed if the answer is not read to its end. */
    end(): void;
    #private;
}
