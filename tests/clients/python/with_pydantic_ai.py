"""pydantic-ai, over Chat Completions, Responses and Messages."""

from typing import Any, Literal

from checks import (
    ANSWER,
    BASE_URL,
    KEY,
    LIMITED_URL,
    MODEL,
    QUESTION,
    RESULT,
    URL,
    WRONG_KEY,
    check,
    in_pieces,
    is_clock,
    raises,
    run,
    same,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, Embedder, ModelSettings, NativeOutput, PromptedOutput, ToolOutput, UsageLimits
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

called: list[str] = []


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


def get_time(city: Literal["Bern", "Oslo"], utc: bool) -> str:
    """Return the time."""
    is_clock({"city": city, "utc": utc})
    called.append(city)
    return RESULT


def model(kind: str = "chat", name: str = MODEL, url: str = URL, key: str = KEY) -> Any:
    if kind == "messages":
        return AnthropicModel(name, provider=AnthropicProvider(api_key=key, base_url=url))
    made = OpenAIChatModel if kind == "chat" else OpenAIResponsesModel
    return made(name, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=key))


def agent(kind: str = "chat", **fields: Any) -> Agent[Any, Any]:
    return Agent(model(kind), instructions="Be brief.", **fields)


async def answers(kind: str = "chat") -> None:
    """Run an agent, which calls its tool once."""
    called.clear()
    same((await agent(kind, tools=[get_time]).run(QUESTION)).output, ANSWER)
    same(len(called), 1)


async def pieces_of(kind: str = "chat") -> list[str]:
    async with agent(kind).run_stream(QUESTION) as streamed:
        return [piece async for piece in streamed.stream_text(delta=True, debounce_by=None)]


async def two_turns(kind: str = "chat") -> None:
    first = await agent(kind).run(QUESTION)
    same(first.output, ANSWER)
    second = await agent(kind).run(QUESTION, message_history=first.all_messages())
    same(second.output, ANSWER)


@check("chat", "Agent(OpenAIChatModel).run, two turns")
async def chat() -> None:
    await two_turns()


@check("streaming", "Agent(OpenAIChatModel).run_stream")
async def stream() -> None:
    in_pieces(await pieces_of())


async def structured(kind: str = "chat") -> None:
    for output in (Clock, ToolOutput(Clock), NativeOutput(Clock)):
        is_clock((await agent(kind, output_type=output).run(QUESTION)).output)


@check("structured output", "Agent(output_type=Clock, ToolOutput(Clock), NativeOutput(Clock))")
async def by_class() -> None:
    await structured()


@check("structured output", "Agent(output_type=PromptedOutput(Clock))")
async def prompted() -> None:
    is_clock((await agent(output_type=PromptedOutput(Clock)).run(QUESTION)).output)


@check("structured output", "Agent(output_type=Clock).run_stream")
async def by_class_streamed() -> None:
    async with agent(output_type=Clock).run_stream(QUESTION) as streamed:
        async for found in streamed.stream_output(debounce_by=None):
            last = found
    is_clock(last)


async def chosen(choice: Any, kind: str = "chat") -> None:
    """Run an agent whose first request must call, and whose further requests may."""
    called.clear()

    def settings(context: Any) -> ModelSettings:
        return ModelSettings(tool_choice=choice) if context.run_step == 1 else ModelSettings()

    outcome = await agent(kind, tools=[get_time]).run(QUESTION, model_settings=settings)
    same(outcome.output, ANSWER)
    same(len(called), 1)


@check("tools required", "Agent.run(model_settings=ModelSettings(tool_choice='required'))")
async def required() -> None:
    await chosen("required")


@check("tool by name", "Agent.run(model_settings=ModelSettings(tool_choice=['get_time']))")
async def named() -> None:
    await chosen(["get_time"])


@check("tools auto", "Agent(tools).run")
async def auto() -> None:
    await answers()


@check("Responses", "Agent(OpenAIResponsesModel): run, run_stream, tools, output_type")
async def responses() -> None:
    await two_turns("responses")
    in_pieces(await pieces_of("responses"))
    await answers("responses")
    await structured("responses")


@check("Messages", "Agent(AnthropicModel): run, run_stream, tools, output_type")
async def messages() -> None:
    await two_turns("messages")
    in_pieces(await pieces_of("messages"))
    await answers("messages")
    is_clock((await agent("messages", output_type=Clock).run(QUESTION)).output)


@check("embeddings", "Embedder(OpenAIEmbeddingModel).embed_query")
async def embed() -> None:
    provider = OpenAIProvider(base_url=BASE_URL, api_key=KEY)
    found = await Embedder(OpenAIEmbeddingModel(MODEL, provider=provider)).embed_query("one")
    assert abs(sum(x * x for x in found.embeddings[0]) - 1) < 1e-4


@check("token counts", "AgentRunResult.usage")
async def usage() -> None:
    for kind in ("chat", "responses", "messages"):
        outcome = await agent(kind).run(QUESTION)
        used = outcome.usage
        assert used.input_tokens > 0
        assert used.output_tokens > 0


@check("token counts", "AnthropicModel.count_tokens, by UsageLimits(count_tokens_before_request=True)")
async def count() -> None:
    limits = UsageLimits(count_tokens_before_request=True, input_tokens_limit=10_000)
    same((await agent("messages").run(QUESTION, usage_limits=limits)).output, ANSWER)


@check("errors", "ModelHTTPError with the status")
async def errors() -> None:
    for kind in ("chat", "responses", "messages"):
        with raises(ModelHTTPError, 400):
            await agent(kind).run(QUESTION, model_settings=ModelSettings(temperature=-1))
        with raises(ModelHTTPError, 401):
            await Agent(model(kind, key=WRONG_KEY)).run(QUESTION)
        with raises(ModelHTTPError, 404):
            await Agent(model(kind, name="another")).run(QUESTION)
    # Its providers ask a client of OpenAI or Anthropic that waits and tries twice more.
    limited = OpenAIProvider(
        openai_client=AsyncOpenAI(base_url=f"{LIMITED_URL}/v1", api_key=KEY, max_retries=0)
    )
    with raises(ModelHTTPError, 429):
        for _ in range(3):
            await Agent(OpenAIChatModel(MODEL, provider=limited)).run(QUESTION)


run()
