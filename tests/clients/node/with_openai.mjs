// openai-node.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  ANSWER, BASE_URL, KEY, LIMITED_URL, LOOKING, MODEL, QUESTION, RESULT, SCHEMA, WRONG_KEY,
  check, collected, fails, inPieces, isClock, run, same,
} from "./checks.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0 });
const asked = [{ role: "user", content: QUESTION }];
const tool = { name: "get_time", description: "Return the time.", parameters: SCHEMA };
const tools = [{ type: "function", function: tool }];
const flat = [{ type: "function", ...tool }];
const Clock = z.object({ city: z.enum(["Bern", "Oslo"]), utc: z.boolean(), note: z.string() });

const create = (fields) => client.chat.completions.create({ model: MODEL, messages: asked, ...fields });
const textOf = async (fields) => (await create(fields)).choices[0].message.content;

async function callsAndAnswers(firstText, fields) {
  const { message } = (await create({ tools, ...fields })).choices[0];
  same(message.content, firstText);
  const [call] = message.tool_calls;
  same(call.function.name, "get_time");
  isClock(call.function.arguments);
  const result = { role: "tool", tool_call_id: call.id, content: RESULT };
  same(await textOf({ messages: [...asked, message, result], tools }), ANSWER);
}

check("chat", "chat.completions.create", async () => same(await textOf(), ANSWER));

check("streaming", "chat.completions.create({ stream: true })", async () => {
  const chunks = await create({ stream: true });
  inPieces(await collected(chunks, (chunk) => chunk.choices[0].delta.content ?? ""));
});

check("streaming", "chat.completions.stream", async () => {
  const stream = client.chat.completions.stream({ model: MODEL, messages: asked });
  const pieces = [];
  stream.on("content", (piece) => pieces.push(piece));
  same(await stream.finalContent(), ANSWER);
  inPieces(pieces);
});

check("structured output", "chat.completions.parse({ response_format: zodResponseFormat(Clock, ...) })", async () => {
  const reply = await client.chat.completions.parse({
    model: MODEL, messages: asked, response_format: zodResponseFormat(Clock, "clock"),
  });
  isClock(reply.choices[0].message.parsed);
});

check("structured output", "chat.completions.create({ response_format: { type: 'json_object' } })", async () =>
  isClock(await textOf({ response_format: { type: "json_object" } })));

check("tools required", "chat.completions.create({ tool_choice: 'required' })", () =>
  callsAndAnswers(null, { tool_choice: "required" }));

check("tool by name", "chat.completions.create({ tool_choice: { type: 'function', ... } })", () =>
  callsAndAnswers(null, { tool_choice: { type: "function", function: { name: "get_time" } } }));

check("tool by name", "chat.completions.parse({ tools: [zodFunction(...)] })", async () => {
  const reply = await client.chat.completions.parse({
    model: MODEL,
    messages: asked,
    tools: [zodFunction({ name: "Clock", parameters: Clock })],
    tool_choice: { type: "function", function: { name: "Clock" } },
  });
  isClock(reply.choices[0].message.tool_calls[0].function.parsed_arguments);
});

check("tools auto", "chat.completions.create({ tools })", () => callsAndAnswers(LOOKING));

check("tools auto", "chat.completions.runTools", async () => {
  const get_time = { ...tool, parse: JSON.parse, function: (given) => (isClock(given), RESULT) };
  const runner = client.chat.completions.runTools({
    model: MODEL, messages: asked, tools: [{ type: "function", function: get_time }], stream: true,
  });
  same(await runner.finalContent(), ANSWER);
});

check("Responses", "responses.create, and again with previous_response_id", async () => {
  const first = await client.responses.create({ model: MODEL, input: QUESTION });
  same(first.output_text, ANSWER);
  const again = { model: MODEL, input: QUESTION, previous_response_id: first.id };
  same((await client.responses.create(again)).output_text, ANSWER);
  same((await client.responses.retrieve(first.id)).output_text, ANSWER);
});

check("Responses", "responses.stream", async () => {
  const stream = client.responses.stream({ model: MODEL, input: QUESTION });
  const deltas = await collected(stream, (event) => (event.type === "response.output_text.delta" ? event.delta : ""));
  inPieces(deltas);
  same((await stream.finalResponse()).output_text, ANSWER);
});

check("Responses", "responses.parse({ text: { format: zodTextFormat(Clock, ...) } })", async () => {
  const text = { format: zodTextFormat(Clock, "clock") };
  isClock((await client.responses.parse({ model: MODEL, input: QUESTION, text })).output_parsed);
});

check("Responses", "responses.create({ tools, tool_choice: 'required' })", async () => {
  const first = await client.responses.create({ model: MODEL, input: QUESTION, tools: flat, tool_choice: "required" });
  const [call] = first.output;
  isClock(call.arguments);
  const input = [{ type: "function_call_output", call_id: call.call_id, output: RESULT }];
  const second = { model: MODEL, input, tools: flat, previous_response_id: first.id };
  same((await client.responses.create(second)).output_text, ANSWER);
});

check("embeddings", "embeddings.create", async () => {
  const { data } = await client.embeddings.create({ model: MODEL, input: ["one", "two"] });
  same(data.map(({ embedding }) => Math.round(1e4 * embedding.reduce((sum, x) => sum + x * x, 0))), [1e4, 1e4]);
});

check("token counts", "responses.inputTokens.count", async () => {
  const counted = await client.responses.inputTokens.count({ model: MODEL, input: QUESTION });
  const { usage } = await client.responses.create({ model: MODEL, input: QUESTION });
  same(counted.input_tokens, usage.input_tokens);
});

check("token counts", "chat.completions.create({ stream_options: { include_usage: true } })", async () => {
  const chunks = await create({ stream: true, stream_options: { include_usage: true } });
  const usage = (await collected(chunks, (chunk) => chunk.usage)).at(-1);
  same(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
});

check("errors", "BadRequestError, AuthenticationError, NotFoundError, RateLimitError", async () => {
  const other = (options) => client.withOptions(options).chat.completions.create({ model: MODEL, messages: asked });
  await fails(OpenAI.BadRequestError, 400, () => create({ temperature: -1 }));
  await fails(OpenAI.AuthenticationError, 401, () => other({ apiKey: WRONG_KEY }));
  await fails(OpenAI.NotFoundError, 404, () => create({ model: "another" }));
  await fails(OpenAI.RateLimitError, 429, () => other({ baseURL: `${LIMITED_URL}/v1` }));
});

await run();
