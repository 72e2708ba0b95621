// AI SDK: @ai-sdk/openai-compatible for chats, @ai-sdk/openai for Responses, @ai-sdk/anthropic for Messages.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embed, generateObject, generateText, isStepCount, Output, streamObject, streamText, tool } from "ai";
import { z } from "zod";
import {
  ANSWER, BASE_URL, KEY, LIMITED_URL, LOOKING, MODEL, QUESTION, RESULT, URL, WRONG_KEY,
  check, collected, fails, inPieces, isClock, run, same,
} from "./checks.mjs";

const compatible = (baseURL = BASE_URL, apiKey = KEY) =>
  createOpenAICompatible({ name: "pararnn", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const chat = compatible()(MODEL);
const openai = createOpenAI({ baseURL: BASE_URL, apiKey: KEY });
const responses = openai(MODEL);
const messages = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY })(MODEL);

const Clock = z.object({ city: z.enum(["Bern", "Oslo"]), utc: z.boolean(), note: z.string() });
const get_time = tool({
  description: "Return the time.",
  inputSchema: z.object({ city: z.enum(["Bern", "Oslo"]), utc: z.boolean() }),
  execute: (given) => (isClock(given), RESULT),
});
const common = { prompt: QUESTION, maxRetries: 0 };

const text = async (model) => same((await generateText({ model, ...common })).text, ANSWER);
const streamed = async (model) => {
  const stream = streamText({ model, ...common });
  inPieces(await collected(stream.textStream, (piece) => piece));
  const usage = await stream.usage;
  same(usage.totalTokens, usage.inputTokens + usage.outputTokens);
};
const object = async (model) => isClock((await generateObject({ model, ...common, schema: Clock })).object);

// The tool is run once, and the text follows in the second step.
async function callsAndAnswers(model, firstText, toolChoice) {
  const outcome = await generateText({
    model,
    ...common,
    tools: { get_time },
    stopWhen: isStepCount(2),
    prepareStep: ({ stepNumber }) => (stepNumber === 0 && toolChoice ? { toolChoice } : { toolChoice: "auto" }),
  });
  same(outcome.steps.length, 2);
  same(outcome.steps[0].text, firstText);
  isClock(outcome.steps[0].toolCalls[0].input);
  same(outcome.text, ANSWER);
}

async function allOf(model) {
  await text(model);
  await streamed(model);
  await object(model);
  await callsAndAnswers(model, LOOKING);
  await callsAndAnswers(model, "", "required");
  await callsAndAnswers(model, "", { type: "tool", toolName: "get_time" });
}

check("chat", "generateText", () => text(chat));
check("chat", "generateText with openai.chat()", () => text(openai.chat(MODEL)));
check("streaming", "streamText", () => streamed(chat));
check("structured output", "generateObject", () => object(chat));
check("structured output", "generateText({ output: Output.object(...) })", async () => {
  const { output } = await generateText({ model: chat, ...common, output: Output.object({ schema: Clock }) });
  isClock(output);
});
check("structured output", "streamObject", async () => {
  const stream = streamObject({ model: chat, ...common, schema: Clock });
  await collected(stream.partialObjectStream, (piece) => piece);
  isClock(await stream.object);
});
check("tools required", "generateText({ toolChoice: 'required' })", () => callsAndAnswers(chat, "", "required"));
check("tool by name", "generateText({ toolChoice: { type: 'tool', ... } })", () =>
  callsAndAnswers(chat, "", { type: "tool", toolName: "get_time" }));
check("tools auto", "generateText({ tools })", () => callsAndAnswers(chat, LOOKING));
check("tools auto", "streamText({ tools })", async () => {
  const stream = streamText({ model: chat, ...common, tools: { get_time }, stopWhen: isStepCount(2) });
  await collected(stream.textStream, (piece) => piece);
  same((await stream.steps).length, 2);
  same(await stream.text, ANSWER);
});
check("Responses", "openai(): generateText, streamText, generateObject, tools", () => allOf(responses));
check("Messages", "anthropic(): generateText, streamText, generateObject, tools", () => allOf(messages));
check("embeddings", "embed", async () => {
  const { embedding } = await embed({ model: compatible().embeddingModel(MODEL), value: "one", maxRetries: 0 });
  same(Math.round(1e4 * embedding.reduce((sum, x) => sum + x * x, 0)), 1e4);
});
check("token counts", "usage of generateText", async () => {
  for (const model of [chat, responses, messages]) {
    const { usage } = await generateText({ model, ...common });
    same(usage.totalTokens, usage.inputTokens + usage.outputTokens);
  }
});
check("errors", "APICallError with the status", async () => {
  const tried = (model, fields) => () => generateText({ model, ...common, ...fields });
  await fails(APICallError, 400, tried(chat, { temperature: -1 }));
  await fails(APICallError, 401, tried(compatible(BASE_URL, WRONG_KEY)(MODEL)));
  await fails(APICallError, 404, tried(compatible()("another")));
  await fails(APICallError, 429, tried(compatible(`${LIMITED_URL}/v1`)(MODEL)));
});

await run();
