export const DONE: "[DONE]";
/** @typedef {{ data: string, id: string | null }} ServerEvent */
/** A decoder of events. It drops comments (`: ping`) and all fields except data and id. */
export class EventDecoder {
    /**
     * Return the events that these bytes complete. They may be cut anywhere.
     * @param {Uint8Array} piece
     * @returns {ServerEvent[]}
     */
    feed(piece: Uint8Array): ServerEvent[];
    #private;
}
export type ServerEvent = {
    data: string;
    id: string | null;
};
