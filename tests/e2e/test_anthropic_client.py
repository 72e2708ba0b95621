"""The anthropic client, unmodified, against a running server."""

import asyncio
from collections.abc import Iterator
from typing import Literal

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import MessageParam, TextBlockParam, UserMessageParam
from pydantic import BaseModel

from tests.e2e.serve_process import KEY

ASKED: UserMessageParam = {"role": "user", "content": "thé"}
SEED = {"seed": 5}
"""A field of ours, by which two replies are the same."""


@pytest.fixture
def client(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_stream_gives_the_final_message(client: Anthropic) -> None:
    whole = client.messages.create(
        model="tiny", max_tokens=30, system="Be brief.", messages=[ASKED], extra_body=SEED
    )
    with client.messages.stream(
        model="tiny", max_tokens=30, system="Be brief.", messages=[ASKED], extra_body=SEED
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
        request_id = stream.request_id
    assert text == text_of(final) == text_of(whole)
    assert (final.stop_reason, final.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    assert (final.role, final.type, final.model) == ("assistant", "message", "tiny")
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.cache_read_input_tokens == whole.usage.input_tokens > 0 == final.usage.input_tokens
    assert request_id
    assert whole._request_id


def test_raw_events_are_those_of_the_client(client: Anthropic) -> None:
    stream = client.messages.create(
        model="tiny", max_tokens=3, messages=[ASKED], stream=True, extra_body=SEED
    )
    kinds = [type(event).__name__ for event in stream]
    assert kinds[:2] == ["RawMessageStartEvent", "RawContentBlockStartEvent"]
    assert set(kinds[2:-3]) == {"RawContentBlockDeltaEvent"}
    assert kinds[-3:] == ["RawContentBlockStopEvent", "RawMessageDeltaEvent", "RawMessageStopEvent"]


def test_an_answer_can_be_sent_back_as_history(client: Anthropic) -> None:
    first = client.messages.create(model="tiny", max_tokens=3, messages=[ASKED])
    history: list[MessageParam] = [ASKED, {"role": "assistant", "content": first.content}, ASKED]
    assert client.messages.create(model="tiny", max_tokens=3, messages=history).usage.output_tokens == 3


def test_a_reply_that_is_begun_is_continued(client: Anthropic) -> None:
    begun: list[MessageParam] = [ASKED, {"role": "assistant", "content": "so "}]
    whole = client.messages.create(model="tiny", max_tokens=8, messages=begun, extra_body=SEED)
    assert not text_of(whole).startswith("so ")
    counts = [
        client.messages.count_tokens(model="tiny", messages=messages).input_tokens
        for messages in (begun[:1], begun)
    ]
    assert counts[1] == counts[0] + 3
    assert whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0) == counts[1]


class Answer(BaseModel):
    """The form of a reply."""

    works: bool
    grade: Literal["good", "bad"]


def test_a_reply_is_parsed_to_a_model(client: Anthropic) -> None:
    message = client.messages.parse(
        model="tiny", max_tokens=200, messages=[ASKED], output_format=Answer, extra_body=SEED
    )
    assert isinstance(message.parsed_output, Answer)
    with client.messages.stream(
        model="tiny", max_tokens=200, messages=[ASKED], output_format=Answer, extra_body=SEED
    ) as stream:
        assert stream.get_final_message().parsed_output == message.parsed_output


def test_marks_for_the_cache_are_counted(client: Anthropic) -> None:
    system: list[TextBlockParam] = [
        {"type": "text", "text": "of the inner thing " * 20, "cache_control": {"type": "ephemeral"}}
    ]
    first, second = (
        client.messages.create(model="tiny", max_tokens=1, messages=[asked], system=system).usage
        for asked in (ASKED, UserMessageParam(role="user", content="another question"))
    )
    assert first.cache_creation_input_tokens == second.cache_read_input_tokens
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)


def test_a_stop_sequence_is_named(client: Anthropic) -> None:
    message = client.messages.create(
        model="tiny", max_tokens=200, messages=[ASKED], stop_sequences=list("etaoinshrdlu")
    )
    assert message.stop_reason == "stop_sequence"
    assert message.stop_sequence in list("etaoinshrdlu")


def test_models_are_listed_and_found(client: Anthropic) -> None:
    [model] = client.models.list()
    assert (model.id, model.type, model.display_name, model.lifecycle) == ("tiny", "model", "tiny", "active")
    assert model.max_tokens == 131_072
    assert model.created_at.year >= 2024
    assert client.models.retrieve("tiny") == model
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude")


def test_errors_are_those_of_the_client(client: Anthropic, url: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match="thinking") as refused:
        client.messages.create(
            model="tiny",
            max_tokens=2000,
            messages=[ASKED],
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
    assert (refused.value.type, refused.value.error_code) == ("invalid_request_error", "invalid_value")
    assert refused.value.request_id
    with pytest.raises(anthropic.BadRequestError, match="colour") as unknown:
        client.messages.create(model="tiny", max_tokens=3, messages=[ASKED], extra_body={"colour": "red"})
    assert unknown.value.error_code == "unknown_field"
    with pytest.raises(anthropic.NotFoundError, match="claude") as missing:
        client.messages.create(model="claude", max_tokens=3, messages=[ASKED])
    assert missing.value.type == "not_found_error"
    with (
        Anthropic(base_url=url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError) as unauthorized,
    ):
        stranger.messages.count_tokens(model="tiny", messages=[ASKED])
    assert unauthorized.value.type == "authentication_error"


def test_a_key_in_the_header_of_older_clients_is_known(url: str) -> None:
    headers = {"x-api-key": KEY, "authorization": ""}
    with Anthropic(base_url=url, api_key="unused", default_headers=headers, max_retries=0) as client:
        assert client.messages.create(model="tiny", max_tokens=1, messages=[ASKED]).id.startswith("msg_")


def test_the_beta_client_and_the_asynchronous_one_work(client: Anthropic, url: str) -> None:
    beta = client.beta.messages.create(
        model="tiny",
        max_tokens=3,
        messages=[{"role": "user", "content": "a"}],
        betas=["files-api-2025-04-14"],
    )
    assert beta.usage.output_tokens == 3

    async def several() -> list[int]:
        async with AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0) as client:
            calls = [client.messages.create(model="tiny", max_tokens=n, messages=[ASKED]) for n in (1, 2, 3)]
            return [message.usage.output_tokens for message in await asyncio.gather(*calls)]

    assert asyncio.run(several()) == [1, 2, 3]


def test_a_client_that_leaves_ends_its_reply(client: Anthropic) -> None:
    with client.messages.stream(model="tiny", max_tokens=100_000, messages=[ASKED]) as stream:
        next(iter(stream))
    assert client.messages.create(model="tiny", max_tokens=1, messages=[ASKED]).usage.output_tokens == 1
