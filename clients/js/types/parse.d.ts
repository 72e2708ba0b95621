/** @param {unknown} body @returns {Json} */
export function jsonObject(body: unknown): Json;
/** @param {unknown} body @returns {import('./types.js').SessionDetail} */
export function session(body: unknown): import("./types.js").SessionDetail;
/** @param {unknown} body @returns {import('./types.js').SessionList} */
export function sessionList(body: unknown): import("./types.js").SessionList;
/** @param {unknown} body @returns {import('./types.js').Completion} */
export function completion(body: unknown): import("./types.js").Completion;
/** Read a chunk of a stream. A chunk without choices has only usage. @param {unknown} body @returns {import('./types.js').Chunk} */
export function chunk(body: unknown): import("./types.js").Chunk;
export function isObject(value: unknown): value is Json;
export type Json = import("./types.js").Json;
