// anthropic-node.
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import {
  ANSWER, KEY, LIMITED_URL, LOOKING, MODEL, QUESTION, RESULT, SCHEMA, URL, WRONG_KEY,
  check, collected, fails, inPieces, isClock, run, same,
} from "./checks.mjs";

const client = new Anthropic({ baseURL: URL, apiKey: KEY, maxRetries: 0 });
const asked = [{ role: "user", content: QUESTION }];
const common = { model: MODEL, max_tokens: 200 };
const tool = { name: "get_time", description: "Return the time.", input_schema: SCHEMA };
const Clock = z.object({ city: z.enum(["Bern", "Oslo"]), utc: z.boolean(), note: z.string() });

const create = (fields) => client.messages.create({ ...common, messages: asked, ...fields });
const textOf = ({ content }) => content.map((block) => block.text ?? "").join("");

async function callsAndAnswers(firstText, fields) {
  const first = await create({ tools: [tool], ...fields });
  same(textOf(first), firstText);
  same(first.stop_reason, "tool_use");
  const [call] = first.content.filter((block) => block.type === "tool_use");
  isClock(call.input);
  const result = { type: "tool_result", tool_use_id: call.id, content: RESULT };
  const messages = [...asked, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
  same(textOf(await create({ messages, tools: [tool] })), ANSWER);
}

for (const feature of ["chat", "Messages"]) {
  check(feature, "messages.create", async () => same(textOf(await create({ system: "Be brief." })), ANSWER));
}

for (const feature of ["streaming", "Messages"]) {
  check(feature, "messages.stream", async () => {
    const stream = client.messages.stream({ ...common, messages: asked });
    const pieces = [];
    stream.on("text", (piece) => pieces.push(piece));
    same(await stream.finalText(), ANSWER);
    inPieces(pieces);
  });
}

check("structured output", "messages.parse({ output_config: { format: zodOutputFormat(Clock) } })", async () => {
  const output_config = { format: zodOutputFormat(Clock) };
  isClock((await client.messages.parse({ ...common, messages: asked, output_config })).parsed_output);
});

for (const feature of ["tools required", "Messages"]) {
  check(feature, "messages.create({ tool_choice: { type: 'any' } })", () =>
    callsAndAnswers("", { tool_choice: { type: "any" } }));
}

check("tool by name", "messages.create({ tool_choice: { type: 'tool', ... } })", () =>
  callsAndAnswers("", { tool_choice: { type: "tool", name: "get_time" } }));

check("tools auto", "messages.create({ tools })", () => callsAndAnswers(LOOKING));

check("tools auto", "messages.stream({ tools })", async () => {
  const stream = client.messages.stream({ ...common, messages: asked, tools: [tool] });
  const pieces = [];
  stream.on("inputJson", (piece) => pieces.push(piece));
  const final = await stream.finalMessage();
  isClock(pieces.join(""));
  isClock(final.content.find((block) => block.type === "tool_use").input);
});

check("tools auto", "beta.messages.toolRunner", async () => {
  const get_time = betaTool({
    name: "get_time", description: "Return the time.", inputSchema: SCHEMA, run: (given) => (isClock(given), RESULT),
  });
  same(textOf(await client.beta.messages.toolRunner({ ...common, messages: asked, tools: [get_time] })), ANSWER);
});

check("token counts", "messages.countTokens", async () => {
  const counted = await client.messages.countTokens({ model: MODEL, messages: asked, tools: [tool] });
  const { usage } = await create({ tools: [tool] });
  same(usage.input_tokens + usage.cache_read_input_tokens, counted.input_tokens);
});

check("errors", "BadRequestError, AuthenticationError, NotFoundError, RateLimitError", async () => {
  const other = (options) => client.withOptions(options).messages.create({ ...common, messages: asked });
  await fails(Anthropic.BadRequestError, 400, () => create({ stop_sequences: [""] }));
  await fails(Anthropic.AuthenticationError, 401, () => other({ apiKey: WRONG_KEY }));
  await fails(Anthropic.NotFoundError, 404, () => create({ model: "another" }));
  await fails(Anthropic.RateLimitError, 429, () => other({ baseURL: LIMITED_URL }));
});

check("Messages", "models.list({ limit: 1 }), models.retrieve", async () => {
  same(await collected(client.models.list({ limit: 1 }), (model) => model.id), [MODEL]);
  same((await client.models.retrieve(MODEL)).id, MODEL);
});

await run();
