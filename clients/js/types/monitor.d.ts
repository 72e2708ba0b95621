/**
 * Yield the events of /v1/monitor. After a lost connection the stream resumes where it was; it throws once the
 * tries of the client's policy are used up.
 * @param {import('./transport.js').Transport} transport
 * @param {import('./types.js').CallOptions} [options]
 * @returns {AsyncGenerator<MonitorEvent, void, undefined>}
 */
export function monitorEvents(transport: import("./transport.js").Transport, options?: import("./types.js").CallOptions): AsyncGenerator<MonitorEvent, void, undefined>;
export type MonitoredSession = import("./types.js").Session & {
    owner: string;
};
/**
 * A reply that has a slot.
 */
export type RunningReply = {
    id: string;
    session_id: string | null;
    owner: string;
    phase: "prefill" | "decode";
    prompt_tokens: number;
    prompt_tokens_read: number;
    completion_tokens: number;
    tokens_per_second: number;
};
/**
 * A limit and its use. owner: null for the whole server; limit: null where there is none.
 */
export type Budget = {
    name: string;
    owner: string | null;
    model: string | null;
    used: number;
    limit: number | null;
};
/**
 * Seconds.
 */
export type Quantiles = {
    count: number;
    p50: number | null;
    p99: number | null;
};
export type Latency = {
    time_to_first_token: Quantiles;
    inter_token_latency: Quantiles;
};
/**
 * [number, prompt rows, decode rows, seconds]
 */
export type Step = [number, number, number, number];
/**
 * A snapshot has all members but `removed`. In a change, a member that is absent has not changed; `sessions`,
 * `budgets` and `steps` then hold only what is new or different.
 */
export type MonitorEvent = {
    type: "snapshot" | "change";
    /**
     * seconds since 1970
     */
    time: number;
    all_keys?: boolean | undefined;
    sessions: MonitoredSession[];
    removed?: string[] | undefined;
    models?: {
        id: string;
        state_bytes: number;
        weight_bytes: number;
    }[] | undefined;
    running?: RunningReply[] | undefined;
    budgets?: Budget[] | undefined;
    latency?: Record<string, Latency> | undefined;
    steps?: Record<string, Step[]> | undefined;
};
