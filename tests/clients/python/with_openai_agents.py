"""openai-agents, over Chat Completions and over Responses."""

from typing import Any, Literal

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from checks import (
    ANSWER,
    BASE_URL,
    KEY,
    LIMITED_URL,
    MODEL,
    QUESTION,
    RESULT,
    WRONG_KEY,
    check,
    in_pieces,
    is_clock,
    raises,
    run,
    same,
)
from pydantic import BaseModel

# Traces would go to OpenAI.
set_tracing_disabled(True)
MODELS: Any = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}
called: list[str] = []


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


@function_tool
def get_time(city: Literal["Bern", "Oslo"], utc: bool) -> str:
    """Return the time."""
    is_clock({"city": city, "utc": utc})
    called.append(city)
    return RESULT


def agent(
    kind: str = "chat", name: str = MODEL, base_url: str = BASE_URL, key: str = KEY, **fields: Any
) -> Agent[Any]:
    client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    model = MODELS[kind](model=name, openai_client=client)
    return Agent(name="assistant", instructions="Be brief.", model=model, **fields)


async def answers(of: Agent[Any]) -> None:
    """Run the agent, which calls its tool once."""
    called.clear()
    same((await Runner.run(of, QUESTION)).final_output, ANSWER)
    same(len(called), 1)


async def pieces_of(of: Agent[Any]) -> list[str]:
    streamed = Runner.run_streamed(of, QUESTION)
    pieces = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    same(streamed.final_output, ANSWER)
    return pieces


@check("chat", "Runner.run(OpenAIChatCompletionsModel), two turns")
async def chat(kind: str = "chat") -> None:
    first = await Runner.run(agent(kind), QUESTION)
    same(first.final_output, ANSWER)
    again = [*first.to_input_list(), {"role": "user", "content": QUESTION}]
    same((await Runner.run(agent(kind), again)).final_output, ANSWER)


@check("streaming", "Runner.run_streamed(OpenAIChatCompletionsModel)")
async def stream() -> None:
    in_pieces(await pieces_of(agent()))


@check("structured output", "Agent(output_type=Clock)")
async def structured() -> None:
    is_clock((await Runner.run(agent(output_type=Clock), QUESTION)).final_output)


@check("tools required", "Agent(tools, ModelSettings(tool_choice='required'))")
async def required() -> None:
    await answers(agent(tools=[get_time], model_settings=ModelSettings(tool_choice="required")))


@check("tool by name", "Agent(tools, ModelSettings(tool_choice='get_time'))")
async def named() -> None:
    await answers(agent(tools=[get_time], model_settings=ModelSettings(tool_choice="get_time")))


@check("tools auto", "Agent(tools)")
async def auto() -> None:
    await answers(agent(tools=[get_time]))


@check("tools auto", "Runner.run_streamed with Agent(tools)")
async def auto_streamed() -> None:
    called.clear()
    assert await pieces_of(agent(tools=[get_time]))
    same(len(called), 1)


@check("tools auto", "Agent(handoffs)")
async def handoff() -> None:
    expert = agent()
    first = agent(handoffs=[expert], model_settings=ModelSettings(tool_choice="required"))
    outcome = await Runner.run(first, QUESTION)
    same(outcome.final_output, ANSWER)
    assert outcome.last_agent is expert


@check("Responses", "Runner.run and run_streamed(OpenAIResponsesModel)")
async def responses() -> None:
    await chat("responses")
    in_pieces(await pieces_of(agent("responses")))


@check("Responses", "Agent(output_type=Clock) with OpenAIResponsesModel")
async def responses_structured() -> None:
    is_clock((await Runner.run(agent("responses", output_type=Clock), QUESTION)).final_output)


@check("Responses", "Agent(tools) with OpenAIResponsesModel: auto, required, by name, streamed")
async def responses_with_tools() -> None:
    await answers(agent("responses", tools=[get_time]))
    for choice in ("required", "get_time"):
        await answers(agent("responses", tools=[get_time], model_settings=ModelSettings(tool_choice=choice)))
    assert await pieces_of(agent("responses", tools=[get_time]))


@check("Responses", "Runner.run(auto_previous_response_id=True)")
async def responses_continued() -> None:
    outcome = await Runner.run(agent("responses", tools=[get_time]), QUESTION, auto_previous_response_id=True)
    same(outcome.final_output, ANSWER)


@check("token counts", "RunResult.context_wrapper.usage")
async def usage() -> None:
    for kind in MODELS:
        used = (await Runner.run(agent(kind), QUESTION)).context_wrapper.usage
        same(used.total_tokens, used.input_tokens + used.output_tokens)
        assert used.input_tokens > 0


@check("errors", "openai.BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
async def errors() -> None:
    for kind in MODELS:
        with raises(openai.BadRequestError, 400):
            await Runner.run(agent(kind, model_settings=ModelSettings(temperature=-1)), QUESTION)
        with raises(openai.AuthenticationError, 401):
            await Runner.run(agent(kind, key=WRONG_KEY), QUESTION)
        with raises(openai.NotFoundError, 404):
            await Runner.run(agent(kind, name="another"), QUESTION)
        with raises(openai.RateLimitError, 429):
            for _ in range(3):
                await Runner.run(agent(kind, base_url=f"{LIMITED_URL}/v1"), QUESTION)


run()
