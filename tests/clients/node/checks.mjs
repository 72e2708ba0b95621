// Checks of one client, and what its script needs: addresses, texts, and ways to compare.
// A script calls `check` for each of its functions and ends with `await run()`.
import assert from "node:assert/strict";

const { SERVER_URL, LIMITED_URL, SERVER_KEY, SERVER_MODEL } = process.env;
export const URL = SERVER_URL;
export const BASE_URL = `${SERVER_URL}/v1`;
export { LIMITED_URL };
export const KEY = SERVER_KEY;
export const MODEL = SERVER_MODEL;
export const WRONG_KEY = "k".repeat(19) + "x";

export const QUESTION = "What time is it in Bern?";
export const LOOKING = "Let me look.";
export const RESULT = "12:00";
export const ANSWER = "It is noon.";
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string", enum: ["Bern", "Oslo"] }, utc: { type: "boolean" } },
  required: ["city", "utc"],
  additionalProperties: false,
};

const checks = [];

// call: what the function calls, as the client's users write it.
export function check(feature, call, test) {
  checks.push({ feature, call, test });
}

export async function run() {
  for (const { feature, call, test } of checks) {
    if (process.argv[2] && !`${feature} ${call}`.includes(process.argv[2])) continue;
    let error = null;
    try {
      await test();
    } catch (reason) {
      error = String(reason?.stack ?? reason);
    }
    console.log(JSON.stringify({ feature, call, error }));
  }
}

export const same = (found, wanted) => assert.deepEqual(found, wanted);

export function inPieces(pieces, text = ANSWER) {
  same(pieces.join(""), text);
  assert.ok(pieces.filter((piece) => piece).length > 1, `one piece: ${pieces}`);
}

// An object of SCHEMA, or arguments of the tool, also as JSON text.
export function isClock(value) {
  const clock = typeof value === "string" ? JSON.parse(value) : value;
  assert.ok(["Bern", "Oslo"].includes(clock.city), JSON.stringify(clock));
  same(typeof clock.utc, "boolean");
}

export const collected = async (stream, pick) => {
  const found = [];
  for await (const item of stream) found.push(pick(item));
  return found;
};

// Expect an error of this class and status. `call` is tried three times: the limited server takes one request a minute.
export async function fails(kind, status, call) {
  for (let i = 0; i < 3; i++) {
    try {
      await call();
    } catch (error) {
      assert.ok(error instanceof kind, String(error?.stack ?? error));
      same(error.status ?? error.statusCode, status);
      return;
    }
  }
  assert.fail(`no ${kind.name} was thrown`);
}
