"""The openai client, unmodified, against a running server."""

import asyncio
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import AsyncOpenAI, NotFoundError, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from openai.types.responses import ResponseIncompleteEvent, ResponseTextDeltaEvent

from tests.e2e.serve_process import KEY

FOREVER = 100_000


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def new_session(url: str) -> str:
    response = httpx.post(f"{url}/v1/sessions", json={}, headers={"authorization": f"Bearer {KEY}"})
    return str(response.raise_for_status().json()["id"])


def test_completion_streamed_equals_unstreamed(client: OpenAI) -> None:
    whole = client.completions.create(model="tiny", prompt="the thé", max_tokens=30, seed=5)
    stream = client.completions.create(model="tiny", prompt="the thé", max_tokens=30, seed=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text
    assert whole.object == "text_completion"
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 30


def test_chat_streamed_equals_unstreamed(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "thé"}], max_completion_tokens=30, seed=5
    )
    stream = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "thé"}],
        max_completion_tokens=30,
        seed=5,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    usage = chunks[-1].usage
    assert usage is not None
    assert whole.usage is not None
    assert usage.total_tokens == whole.usage.total_tokens
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens


def test_answer_can_be_sent_back_as_history(client: OpenAI) -> None:
    asked: ChatCompletionUserMessageParam = {"role": "user", "content": "a"}
    first = client.chat.completions.create(model="tiny", messages=[asked], max_tokens=3)
    reply = first.choices[0].message
    second = client.chat.completions.create(
        model="tiny",
        messages=[asked, reply, asked],  # type: ignore[list-item]  # as the client's own guide does it
        max_tokens=3,
    )
    assert second.usage is not None
    assert first.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


def test_logprobs_parse(client: OpenAI) -> None:
    chat = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "a"}],
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
        seed=1,
    )
    assert chat.choices[0].logprobs is not None
    assert chat.choices[0].logprobs.content is not None
    assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 2
    completion = client.completions.create(model="tiny", prompt="a", max_tokens=3, logprobs=2, echo=True)
    assert completion.choices[0].logprobs is not None
    assert completion.choices[0].logprobs.text_offset == sorted(
        completion.choices[0].logprobs.text_offset or []
    )


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "pararnn"


def test_session_through_extra_fields(client: OpenAI, url: str) -> None:
    session_id = new_session(url)
    for turn in (1, 2):
        answer = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "a"}],
            max_tokens=3,
            extra_body={"session_id": session_id, "expected_turn": turn - 1},
        )
        assert answer.model_extra is not None
        assert answer.model_extra["session"]["turn"] == turn


def test_errors_are_the_classes_a_client_expects(client: OpenAI, url: str) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model="tiny", prompt="a", temperature=-1)
    assert (bad.value.param, bad.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.completions.create(model="gpt", prompt="a")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.ConflictError) as conflict:
        client.completions.create(
            model="tiny", prompt="a", extra_body={"session_id": new_session(url), "expected_turn": 9}
        )
    assert conflict.value.code == "turn_conflict"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.InternalServerError) as late:
        client.completions.create(
            model="tiny", prompt="a", max_tokens=FOREVER, extra_body={"timeout": 0.1, "ignore_eos": True}
        )
    assert late.value.status_code == 504


def test_failure_in_mid_stream_is_raised(client: OpenAI) -> None:
    stream = client.completions.create(
        model="tiny",
        prompt="a",
        max_tokens=FOREVER,
        stream=True,
        extra_body={"timeout": 0.3, "ignore_eos": True},
    )
    with pytest.raises(openai.APIError, match="time"):
        list(stream)


def test_sixty_four_streams_give_the_text_of_each_alone(url: str) -> None:
    async def run() -> None:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:

            async def text(seed: int) -> str:
                stream = await client.chat.completions.create(
                    model="tiny",
                    messages=[{"role": "user", "content": f"the {seed % 7}"}],
                    max_tokens=8,
                    seed=seed,
                    stream=True,
                )
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            together = await asyncio.gather(*(text(seed) for seed in range(64)))
            assert together == [await text(seed) for seed in range(64)]

    asyncio.run(run())


def test_responses_are_created_streamed_retrieved_and_deleted(client: OpenAI) -> None:
    # A random model may end its reply at any token.
    to_the_limit = {"ignore_eos": True}
    first = client.responses.create(
        model="tiny", input="thé", instructions="be", max_output_tokens=9, extra_body=to_the_limit
    )
    assert first.status == "incomplete"
    assert first.usage is not None
    assert client.responses.retrieve(first.id) == first
    stream = client.responses.create(
        model="tiny",
        input=[{"role": "user", "content": "and"}],
        instructions="be",
        previous_response_id=first.id,
        max_output_tokens=9,
        stream=True,
        extra_body=to_the_limit,
    )
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert isinstance(last, ResponseIncompleteEvent)
    deltas = [event.delta for event in events if isinstance(event, ResponseTextDeltaEvent)]
    assert "".join(deltas) == last.response.output_text
    assert last.response.usage is not None
    assert last.response.usage.input_tokens_details.cached_tokens >= first.usage.input_tokens
    items = client.responses.input_items.list(last.response.id, order="asc").data
    assert [item.to_dict()["role"] for item in items] == ["user", "assistant", "user"]
    client.responses.delete(first.id)
    with pytest.raises(NotFoundError):
        client.responses.retrieve(first.id)
