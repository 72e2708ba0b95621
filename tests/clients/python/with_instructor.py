"""instructor."""

from collections.abc import Iterable
from typing import Any, Literal

import anthropic
import instructor
import openai
from checks import (
    BASE_URL,
    KEY,
    LIMITED_URL,
    MODEL,
    QUESTION,
    URL,
    WRONG_KEY,
    beyond_limit,
    check,
    is_clock,
    run,
    same,
)
from instructor import Mode
from instructor.core import InstructorRetryException
from pydantic import BaseModel

client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
ASKED: Any = [{"role": "user", "content": QUESTION}]


class Clock(BaseModel):
    """The form of a reply."""

    city: Literal["Bern", "Oslo"]
    utc: bool
    note: str


def created(mode: Mode) -> Clock:
    instructed = instructor.from_openai(client, mode=mode)
    found = instructed.create(model=MODEL, messages=ASKED, response_model=Clock, max_retries=0)
    assert isinstance(found, Clock)
    return found


@check("structured output", "from_openai(mode=Mode.TOOLS)")
@check("tool by name", "from_openai(mode=Mode.TOOLS)")
def tools() -> None:
    is_clock(created(Mode.TOOLS))


@check("structured output", "from_openai(mode=Mode.TOOLS_STRICT)")
def tools_strict() -> None:
    is_clock(created(Mode.TOOLS_STRICT))


@check("structured output", "from_openai(mode=Mode.JSON)")
def json() -> None:
    is_clock(created(Mode.JSON))


@check("structured output", "from_openai(mode=Mode.JSON_SCHEMA)")
def json_schema() -> None:
    is_clock(created(Mode.JSON_SCHEMA))


@check("tools required", "from_openai(mode=Mode.PARALLEL_TOOLS)")
def parallel() -> None:
    instructed = instructor.from_openai(client, mode=Mode.PARALLEL_TOOLS)
    found = instructed.create(model=MODEL, messages=ASKED, response_model=Iterable[Clock], max_retries=0)
    [clock] = list(found)
    is_clock(clock)


@check("streaming", "create_partial")
def partial() -> None:
    instructed = instructor.from_openai(client, mode=Mode.TOOLS)
    *_, last = instructed.create_partial(model=MODEL, messages=ASKED, response_model=Clock, max_retries=0)
    is_clock(last)


@check("Responses", "from_openai(mode=Mode.RESPONSES_TOOLS)")
def responses() -> None:
    instructed = instructor.from_openai(client, mode=Mode.RESPONSES_TOOLS)
    is_clock(instructed.create(model=MODEL, messages=ASKED, response_model=Clock, max_retries=0))


@check("Messages", "from_anthropic(mode=Mode.ANTHROPIC_TOOLS)")
def messages() -> None:
    instructed = instructor.from_anthropic(
        anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0), mode=Mode.ANTHROPIC_TOOLS
    )
    is_clock(
        instructed.create(model=MODEL, messages=ASKED, max_tokens=200, response_model=Clock, max_retries=0)
    )


@check("token counts", "create_with_completion")
def usage() -> None:
    instructed = instructor.from_openai(client, mode=Mode.TOOLS)
    _, completion = instructed.create_with_completion(
        model=MODEL, messages=ASKED, response_model=Clock, max_retries=0
    )
    assert completion.usage.total_tokens > completion.usage.prompt_tokens > 0


@check("errors", "InstructorRetryException from openai's errors")
def errors() -> None:
    def refused(status: int, tried: openai.OpenAI = client, **fields: Any) -> None:
        instructed = instructor.from_openai(tried, mode=Mode.TOOLS)
        given = {"model": MODEL, "messages": ASKED, "response_model": Clock, "max_retries": 0, **fields}
        try:
            beyond_limit(lambda: instructed.create(**given))
        except (InstructorRetryException, openai.APIStatusError) as error:
            cause: Any = error if isinstance(error, openai.APIStatusError) else error.__cause__
            while cause is not None and not isinstance(cause, openai.APIStatusError):
                cause = cause.__cause__ or cause.last_attempt.exception()
            same(cause.status_code, status)
            return
        raise AssertionError(f"no error for {status}")

    refused(400, temperature=-1)
    refused(401, client.with_options(api_key=WRONG_KEY))
    refused(404, model="another")
    refused(429, client.with_options(base_url=f"{LIMITED_URL}/v1"))


run()
