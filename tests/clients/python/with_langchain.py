"""LangChain: langchain-openai and langchain-anthropic."""

from typing import Any, Literal

import anthropic
import openai
from checks import (
    ANSWER,
    BASE_URL,
    KEY,
    LIMITED_URL,
    LOOKING,
    MODEL,
    QUESTION,
    RESULT,
    URL,
    WRONG_KEY,
    beyond_limit,
    check,
    in_pieces,
    is_clock,
    raises,
    run,
    same,
)
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


@tool
def get_time(city: Literal["Bern", "Oslo"], utc: bool) -> str:
    """Return the time."""
    is_clock({"city": city, "utc": utc})
    return RESULT


def chat_model(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"base_url": BASE_URL, "api_key": KEY, "model": MODEL, "max_retries": 0, **fields})


def responses_model(**fields: Any) -> ChatOpenAI:
    return chat_model(use_responses_api=True, **fields)


def messages_model(**fields: Any) -> ChatAnthropic:
    return ChatAnthropic(
        **{"base_url": URL, "api_key": KEY, "model": MODEL, "max_tokens": 200, "max_retries": 0, **fields}
    )


def text_of(message: Any) -> str:
    return str(message.text)


def calls_and_answers(model: Any, first_text: str, **binding: Any) -> None:
    """Take one call, run the tool, send its result and read the text."""
    asked = HumanMessage(QUESTION)
    first = model.bind_tools([get_time], **binding).invoke([asked])
    same(text_of(first), first_text)
    [call] = first.tool_calls
    same(call["name"], "get_time")
    result = get_time.invoke(call)
    same(result.content, RESULT)
    second = model.bind_tools([get_time]).invoke([asked, first, result])
    same(text_of(second), ANSWER)


@check("chat", "ChatOpenAI.invoke")
def chat() -> None:
    same(text_of(chat_model().invoke(QUESTION)), ANSWER)


@check("streaming", "ChatOpenAI.stream")
def stream() -> None:
    in_pieces([text_of(chunk) for chunk in chat_model().stream(QUESTION)])


@check("structured output", "ChatOpenAI.with_structured_output(Clock, method='json_schema')")
def by_schema() -> None:
    is_clock(chat_model().with_structured_output(Clock, method="json_schema").invoke(QUESTION))


@check(
    "structured output", "ChatOpenAI.with_structured_output(Clock, method='json_schema', strict=True).stream"
)
def by_schema_streamed() -> None:
    structured = chat_model().with_structured_output(Clock, method="json_schema", strict=True)
    *_, last = structured.stream(QUESTION)
    is_clock(last)


@check("structured output", "ChatOpenAI.with_structured_output(Clock, method='function_calling')")
def by_tools() -> None:
    is_clock(chat_model().with_structured_output(Clock, method="function_calling").invoke(QUESTION))


@check("structured output", "ChatOpenAI.with_structured_output(Clock, method='json_mode')")
def by_json_mode() -> None:
    is_clock(chat_model().with_structured_output(Clock, method="json_mode").invoke(QUESTION))


@check("tools required", "ChatOpenAI.bind_tools(tool_choice='required')")
def required() -> None:
    calls_and_answers(chat_model(), "", tool_choice="required")


@check("tool by name", "ChatOpenAI.bind_tools(tool_choice='get_time')")
def named() -> None:
    calls_and_answers(chat_model(), "", tool_choice="get_time")


@check("tool by name", "ChatOpenAI.bind_tools(tool_choice='get_time', strict=True)")
def named_strictly() -> None:
    calls_and_answers(chat_model(), "", tool_choice="get_time", strict=True)


@check("tools auto", "ChatOpenAI.bind_tools")
def auto() -> None:
    calls_and_answers(chat_model(), LOOKING)


@check("tools auto", "ChatOpenAI.bind_tools().stream")
def auto_streamed() -> None:
    first, *rest = chat_model().bind_tools([get_time]).stream(QUESTION)
    for chunk in rest:
        first += chunk
    [call] = first.tool_calls
    is_clock(call["args"])


@check("Responses", "ChatOpenAI(use_responses_api=True).invoke, stream, bind_tools")
def responses() -> None:
    same(text_of(responses_model().invoke(QUESTION)), ANSWER)
    in_pieces([text_of(chunk) for chunk in responses_model().stream(QUESTION)])
    calls_and_answers(responses_model(), "", tool_choice="required")
    calls_and_answers(responses_model(), LOOKING)


@check("Responses", "ChatOpenAI(use_responses_api=True, use_previous_response_id=True)")
def responses_continued() -> None:
    calls_and_answers(responses_model(use_previous_response_id=True), LOOKING)


@check("Responses", "ChatOpenAI(use_responses_api=True).with_structured_output(Clock, method='json_schema')")
def responses_by_schema() -> None:
    is_clock(responses_model().with_structured_output(Clock, method="json_schema").invoke(QUESTION))


@check("Messages", "ChatAnthropic.invoke, stream, bind_tools")
def messages() -> None:
    same(text_of(messages_model().invoke(QUESTION)), ANSWER)
    in_pieces([text_of(chunk) for chunk in messages_model().stream(QUESTION)])
    calls_and_answers(messages_model(), "", tool_choice="any")
    calls_and_answers(messages_model(), "", tool_choice="get_time")
    calls_and_answers(messages_model(), LOOKING)


@check("Messages", "ChatAnthropic.with_structured_output(Clock)")
def messages_structured() -> None:
    is_clock(messages_model().with_structured_output(Clock).invoke(QUESTION))
    is_clock(messages_model().with_structured_output(Clock, method="json_schema").invoke(QUESTION))


@check("embeddings", "OpenAIEmbeddings(check_embedding_ctx_length=False).embed_documents")
def embed() -> None:
    # Otherwise it sends ids of OpenAI's tokenizers, which mean other texts here.
    embeddings = OpenAIEmbeddings(
        base_url=BASE_URL, api_key=KEY, model=MODEL, check_embedding_ctx_length=False
    )
    vectors = embeddings.embed_documents(["one", "two"])
    same([abs(sum(x * x for x in vector) - 1) < 1e-4 for vector in vectors], [True, True])


@check("token counts", "AIMessage.usage_metadata of invoke and stream")
def usage() -> None:
    whole = chat_model().invoke(QUESTION).usage_metadata
    assert whole is not None
    first, *rest = chat_model(stream_usage=True).stream(QUESTION)
    for chunk in rest:
        first += chunk
    assert first.usage_metadata is not None
    same(first.usage_metadata["total_tokens"], whole["total_tokens"])


@check("token counts", "ChatAnthropic.get_num_tokens_from_messages")
def count() -> None:
    reply = messages_model().invoke(QUESTION)
    same(
        messages_model().get_num_tokens_from_messages([HumanMessage(QUESTION)]),
        reply.usage_metadata["input_tokens"],
    )


@check("errors", "openai.BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
def errors() -> None:
    with raises(openai.BadRequestError, 400):
        chat_model(temperature=-1).invoke(QUESTION)
    with raises(openai.AuthenticationError, 401):
        chat_model(api_key=WRONG_KEY).invoke(QUESTION)
    with raises(openai.NotFoundError, 404):
        chat_model(model="another").invoke(QUESTION)
    with raises(openai.RateLimitError, 429):
        beyond_limit(lambda: chat_model(base_url=f"{LIMITED_URL}/v1").invoke(QUESTION))


@check("errors", "anthropic.BadRequestError, AuthenticationError, NotFoundError, RateLimitError")
def errors_of_messages() -> None:
    with raises(anthropic.BadRequestError, 400):
        messages_model(temperature=-1).invoke(QUESTION)
    with raises(anthropic.AuthenticationError, 401):
        messages_model(api_key=WRONG_KEY).invoke(QUESTION)
    with raises(anthropic.NotFoundError, 404):
        messages_model(model="another").invoke(QUESTION)
    with raises(anthropic.RateLimitError, 429):
        beyond_limit(lambda: messages_model(base_url=LIMITED_URL).invoke(QUESTION))


run()
