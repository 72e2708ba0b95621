/**
 * Return the milliseconds until the next try, null to stop. jitter: random in [0, 1).
 * @param {RetryPolicy} policy
 * @param {number} retriesDone
 * @param {unknown} failure
 * @param {{ repeatable: boolean, jitter: number }} request
 * @returns {number | null}
 */
export function waitBeforeRetry(policy: RetryPolicy, retriesDone: number, failure: unknown, { repeatable, jitter }: {
    repeatable: boolean;
    jitter: number;
}): number | null;
/**
 * Limits of repeating. maxRetries: tries after the first. Waits begin with firstWaitMs and double.
 * @typedef {object} RetryPolicy
 * @property {number} maxRetries
 * @property {number} firstWaitMs
 * @property {number} longestWaitMs
 */
/** @type {Readonly<RetryPolicy>} */
export const DEFAULT_RETRIES: Readonly<RetryPolicy>;
/**
 * Limits of repeating. maxRetries: tries after the first. Waits begin with firstWaitMs and double.
 */
export type RetryPolicy = {
    maxRetries: number;
    firstWaitMs: number;
    longestWaitMs: number;
};
