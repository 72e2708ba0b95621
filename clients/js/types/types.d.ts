/**
 * A session and its memory. state_bytes is the same after one token and after a million. Times are
 * seconds since 1970; a null `expires_at` is never.
 */
export type Session = {
    id: string;
    model: string;
    created_at: number;
    last_used_at: number;
    num_tokens: number;
    /**
     * number of committed turns
     */
    turn: number;
    state_bytes: number;
    /**
     * of saved states
     */
    snapshot_bytes: number;
    /**
     * of the token log, which grows
     */
    history_bytes: number;
    tier: "device" | "host" | "store";
    parent_id: string | null;
    metadata: Record<string, string>;
    expires_at: number | null;
    pinned: boolean;
};
export type Turn = {
    turn: number;
    created_at: number;
    prompt_tokens: number;
    completion_tokens: number;
    num_tokens: number;
    duration_seconds: number;
};
export type Snapshot = {
    turn: number;
    num_tokens: number;
    created_at: number;
    nbytes: number;
};
/**
 * A session with its last turns and its named snapshots.
 */
export type SessionDetail = Session & {
    turns: Turn[];
    snapshots: Record<string, Snapshot>;
};
/**
 * One page of sessions. For the next page, pass `last_id` as `after`.
 */
export type SessionList = {
    data: Session[];
    has_more: boolean;
    last_id: string | null;
};
/**
 * Numbers of tokens. cached_tokens: tokens of the prompt that were already computed.
 */
export type Usage = {
    prompt_tokens: number;
    completion_tokens: number;
    cached_tokens: number;
};
/**
 * The session after a reply.
 */
export type SessionAfter = {
    id: string;
    turn: number;
    num_tokens: number;
    state_bytes: number;
};
/**
 * A whole reply, of text or of chat. `raw` is the whole answer.
 */
export type Completion = {
    id: string;
    text: string;
    /**
     * stop, length, tool_calls, cancelled, timeout or abort
     */
    finish_reason: string | null;
    usage: Usage | null;
    session: SessionAfter | null;
    raw: Json;
};
/**
 * A chunk of a streamed reply. text may be empty; the last chunks have finish_reason, session and usage.
 */
export type Chunk = {
    text: string;
    finish_reason: string | null;
    usage: Usage | null;
    session: SessionAfter | null;
    raw: Json;
};
export type Message = {
    role: string;
    content: unknown;
    [field: string]: unknown;
};
export type Json = {
    [field: string]: any;
};
/**
 * Options of one call. idempotencyKey: the server does a write with a key only once, so it is sent again
 * if its answer is lost.
 */
export type CallOptions = {
    signal?: AbortSignal | undefined;
    idempotencyKey?: string | undefined;
};
