"""AutoGen: autogen-ext and its agents."""

from typing import Any, Literal

import anthropic
import openai
from autogen_agentchat.agents import AssistantAgent
from autogen_core import FunctionCall
from autogen_core.models import AssistantMessage as Assistant
from autogen_core.models import FunctionExecutionResult, FunctionExecutionResultMessage, UserMessage
from autogen_core.tools import FunctionTool
from autogen_ext.models.anthropic import AnthropicChatCompletionClient
from autogen_ext.models.openai import OpenAIChatCompletionClient
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
from pydantic import BaseModel

# AutoGen wants to know what a model can do whose name it does not know.
ABILITIES: Any = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "family": "unknown",
    "structured_output": True,
}
ASKED = [UserMessage(content=QUESTION, source="user")]


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


def get_time(city: Literal["Bern", "Oslo"], utc: bool) -> str:
    """Return the time."""
    is_clock({"city": city, "utc": utc})
    return RESULT


TOOL = FunctionTool(get_time, description="Return the time.", strict=True)


def openai_client(**fields: Any) -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(
        **{
            "model": MODEL,
            "base_url": BASE_URL,
            "api_key": KEY,
            "max_retries": 0,
            "model_info": ABILITIES,
            **fields,
        }
    )


def anthropic_client(**fields: Any) -> AnthropicChatCompletionClient:
    return AnthropicChatCompletionClient(
        **{
            "model": MODEL,
            "base_url": URL,
            "api_key": KEY,
            "max_tokens": 200,
            "max_retries": 0,
            "model_info": ABILITIES,
            **fields,
        }
    )


async def calls_and_answers(client: Any, **fields: Any) -> None:
    """Take one call, send its result and read the text."""
    first = await client.create(ASKED, tools=[TOOL], **fields)
    [call] = first.content
    assert isinstance(call, FunctionCall)
    same(call.name, "get_time")
    is_clock(call.arguments)
    result = FunctionExecutionResult(content=RESULT, call_id=call.id, name=call.name, is_error=False)
    history = [
        *ASKED,
        Assistant(content=first.content, source="assistant", thought=first.thought),
        FunctionExecutionResultMessage(content=[result]),
    ]
    same((await client.create(history, tools=[TOOL])).content, ANSWER)


async def pieces_of(client: Any) -> list[str]:
    return [piece async for piece in client.create_stream(ASKED) if isinstance(piece, str)]


@check("chat", "OpenAIChatCompletionClient.create")
async def chat() -> None:
    same((await openai_client().create(ASKED)).content, ANSWER)


@check("chat", "AssistantAgent.run, three turns")
async def agent() -> None:
    assistant = AssistantAgent("assistant", model_client=openai_client(), system_message="Be brief.")
    for _ in range(3):
        same((await assistant.run(task=QUESTION)).messages[-1].content, ANSWER)


@check("streaming", "OpenAIChatCompletionClient.create_stream")
async def stream() -> None:
    in_pieces(await pieces_of(openai_client()))


@check("structured output", "OpenAIChatCompletionClient.create(json_output=Clock)")
async def by_class() -> None:
    is_clock((await openai_client().create(ASKED, json_output=Clock)).content)


@check("structured output", "OpenAIChatCompletionClient.create(json_output=True)")
async def json_object() -> None:
    is_clock((await openai_client().create(ASKED, json_output=True)).content)


@check("structured output", "AssistantAgent(output_content_type=Clock)")
async def agent_by_class() -> None:
    assistant = AssistantAgent("assistant", model_client=openai_client(), output_content_type=Clock)
    is_clock((await assistant.run(task=QUESTION)).messages[-1].content)


@check("tools required", "OpenAIChatCompletionClient.create(tool_choice='required')")
async def required() -> None:
    await calls_and_answers(openai_client(), tool_choice="required")


@check("tool by name", "OpenAIChatCompletionClient.create(tool_choice=tool)")
async def named() -> None:
    await calls_and_answers(openai_client(), tool_choice=TOOL)


@check("tools auto", "OpenAIChatCompletionClient.create(tools)")
async def auto() -> None:
    await calls_and_answers(openai_client())


@check("tools auto", "AssistantAgent(tools, reflect_on_tool_use=True).run")
async def agent_with_tools() -> None:
    assistant = AssistantAgent(
        "assistant", model_client=openai_client(), tools=[TOOL], reflect_on_tool_use=True
    )
    same((await assistant.run(task=QUESTION)).messages[-1].content, ANSWER)


@check("tools auto", "AssistantAgent(tools, model_client_stream=True).run_stream")
async def agent_streamed() -> None:
    assistant = AssistantAgent(
        "assistant",
        model_client=openai_client(),
        tools=[TOOL],
        reflect_on_tool_use=True,
        model_client_stream=True,
    )
    async for event in assistant.run_stream(task=QUESTION):
        last: Any = event
    same(last.messages[-1].content, ANSWER)


@check("Messages", "AnthropicChatCompletionClient.create, create_stream, tools")
async def messages() -> None:
    client = anthropic_client()
    same((await client.create(ASKED)).content, ANSWER)
    in_pieces(await pieces_of(client))
    await calls_and_answers(client, tool_choice="required")
    await calls_and_answers(client, tool_choice=TOOL)
    await calls_and_answers(client)


@check("token counts", "CreateResult.usage, whole and streamed")
async def usage() -> None:
    whole = (await openai_client().create(ASKED)).usage
    assert whole.prompt_tokens > 0
    async for piece in openai_client().create_stream(ASKED, include_usage=True):
        last: Any = piece
    same(last.usage, whole)


@check("errors", "openai.BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
async def errors() -> None:
    with raises(openai.BadRequestError, 400):
        await openai_client(temperature=-1).create(ASKED)
    with raises(openai.AuthenticationError, 401):
        await openai_client(api_key=WRONG_KEY).create(ASKED)
    with raises(openai.NotFoundError, 404):
        await openai_client(model="another").create(ASKED)
    with raises(openai.RateLimitError, 429):
        for _ in range(3):
            await openai_client(base_url=f"{LIMITED_URL}/v1").create(ASKED)
    with raises(anthropic.NotFoundError, 404):
        await anthropic_client(model="another").create(ASKED)


run()
