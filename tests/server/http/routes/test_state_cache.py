"""The cache through HTTP: true counts in every format, and a conversation that costs what is new in it."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import ENDLESS, HttpServer, connection, eventually, serving

KEYS = {"ada": "ada-secret-0123456789", "bob": "bob-secret-0123456789"}
LONG = "the inner thing " * 20
H, E = (str(ord(letter) - 33) for letter in "he")


def cached(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def read(answer: dict[str, Any]) -> int:
    """Tokens of the prompt that were fed."""
    return int(answer["usage"]["prompt_tokens"]) - cached(answer)


@pytest.fixture
def fresh(loaded: Loaded) -> Iterator[HttpServer]:
    with serving(loaded) as server:
        yield server


def test_every_format_tells_what_was_cached(fresh: HttpServer) -> None:
    first = fresh.complete(LONG, max_tokens=1)
    length = first["usage"]["prompt_tokens"]
    assert cached(first) == 0
    assert cached(fresh.complete(LONG, max_tokens=1)) == length
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = fresh.events("/v1/completions", {"prompt": LONG, "max_tokens": 3, "stream_options": options})
    assert [cached(event) for event in events] == [length] * len(events)
    answer = fresh.complete([LONG, LONG, "other"], max_tokens=1, n=2)
    assert cached(answer) == 2 * length
    chats = [fresh.chat(LONG, max_tokens=1) for _ in range(2)]
    assert cached(chats[0]) == 0
    assert read(chats[1]) == 0
    chat = {"messages": [{"role": "user", "content": LONG}], "max_tokens": 1}
    *_, last = fresh.events("/v1/chat/completions", {**chat, "stream_options": {"include_usage": True}})
    assert cached(last) == last["usage"]["prompt_tokens"]


def test_counters_are_the_sums_of_what_requests_were_told(fresh: HttpServer) -> None:
    answers = [fresh.complete(LONG[:end], max_tokens=1) for end in (50, 320, 320, 319, 200)]
    told = sum(map(cached, answers))
    assert told > 200
    assert fresh.metric("pararnn_prompt_tokens_cached_total") == told
    assert fresh.metric("pararnn_prefix_cache_hits_total") == told
    asked = sum(answer["usage"]["prompt_tokens"] for answer in answers)
    assert fresh.metric("pararnn_prefix_cache_queries_total") == asked
    assert fresh.metric("pararnn_state_cache_bytes") > 0


def test_a_text_that_grows_in_its_last_word_is_read_from_that_word_on(
    fresh: HttpServer, loaded: Loaded
) -> None:
    fresh.complete(LONG + "the", max_tokens=1)
    answer = fresh.complete(LONG + "there is more", max_tokens=1, seed=1)
    assert read(answer) < 20
    with serving(loaded, state_cache_bytes=0) as without:
        plain = without.complete(LONG + "there is more", max_tokens=1, seed=1)
    assert cached(plain) == 0
    assert plain["choices"] == answer["choices"]


def test_keys_and_salts_never_share(loaded: Loaded) -> None:
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with serving(loaded, api_keys=keys) as server:

        def ask(name: str, **fields: Any) -> int:
            headers = {"authorization": f"Bearer {KEYS[name]}"}
            body = {"prompt": LONG, "max_tokens": 1, **fields}
            response = httpx.post(f"{server.url}/v1/completions", json=body, headers=headers, timeout=30)
            return cached(response.raise_for_status().json())

        assert ask("ada") == 0
        assert ask("bob") == 0
        assert ask("ada", cache_salt="a") == 0
        assert ask("ada", cache_salt="b") == 0
        assert ask("ada", prompt_cache_key="a") > 0
        assert ask("ada", cache_salt="a") == ask("bob") > 0


@pytest.mark.parametrize("stream", [False, True])
def test_turn_200_of_a_chat_reads_as_little_as_turn_2(fresh: HttpServer, stream: bool) -> None:
    """The replies are of h and e, which were generated one by one and come back joined."""
    fields: dict[str, Any] = {
        "max_tokens": 32,
        "ignore_eos": True,
        "temperature": 4,
        "logit_bias": {H: 100, E: 100},
    }
    messages: list[dict[str, str]] = []
    fed = []
    for turn in range(200 if not stream else 12):
        messages.append({"role": "user", "content": f"and {turn:03d} the inner thing"})
        body = {"messages": messages, "seed": turn, **fields}
        if stream:
            events = fresh.events("/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
            reply = "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1])
            answer = events[-1]
        else:
            answer = fresh.answer("/v1/chat/completions", body)
            reply = answer["choices"][0]["message"]["content"]
        assert "he" in reply
        messages.append({"role": "assistant", "content": reply})
        fed.append(read(answer))
    assert max(fed[1:]) <= 1.1 * fed[1]
    assert fed[-1] < 40 < answer["usage"]["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_next_turn_counts_the_same_while_another_key_streams(loaded: Loaded, stream: bool) -> None:
    """A key cannot read if the server had time to read the conversation ahead."""
    keys = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    seen = []
    for others in (0, 3):
        with ExitStack() as held:
            server = held.enter_context(serving(loaded, key=KEYS["ada"], api_keys=keys))
            for _ in range(others):
                held.enter_context(connection(server, {**ENDLESS, "stream": True}, key=KEYS["bob"]))
            eventually(partial(server.is_busy, others))
            talk, counts = [LONG], []
            for turn in range(4):
                fields = {"max_tokens": 48, "seed": turn, "ignore_eos": True}
                if stream:
                    messages = [
                        {"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(talk)
                    ]
                    body = {"messages": messages, "stream_options": {"include_usage": True}, **fields}
                    *events, answer = server.events("/v1/chat/completions", body)
                    reply = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
                else:
                    answer = server.chat(*talk, **fields)
                    reply = answer["choices"][0]["message"]["content"]
                counts.append(cached(answer))
                talk += [reply, "and the inner thing"]
            seen.append(counts)
    assert seen[0] == seen[1]
    assert all(count > 50 for count in seen[0][1:])


def test_a_chat_says_the_same_with_and_without_the_cache(loaded: Loaded) -> None:
    said = []
    for size in (0, 1 << 24):
        with serving(loaded, state_cache_bytes=size) as server:
            talk = ["the"]
            for turn in range(6):
                answer = server.chat(*talk, max_tokens=40, seed=turn, logprobs=True, top_logprobs=3)
                talk += [answer["choices"][0]["message"]["content"] or "-", "and the inner thing"]
                said.append(answer["choices"])
                assert (cached(answer) > 0) == (size > 0 and turn > 0)
    assert said[:6] == said[6:]


def test_what_a_user_writes_never_passes_for_a_control_token_in_the_history(fresh: HttpServer) -> None:
    talk = ["a <|eos|> of " + LONG]
    answer = fresh.chat(*talk, max_tokens=40, ignore_eos=True, seed=4)
    talk += [answer["choices"][0]["message"]["content"], "more <|user|>"]
    again = fresh.chat(*talk, max_tokens=1)
    assert read(again) < 40


MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}


def marked_chat(*texts: str, then: str, **fields: Any) -> dict[str, Any]:
    """Return a chat whose first message has a mark at the end of every text but the last."""
    parts = [{"type": "text", "text": text, **MARK} for text in texts]
    messages = [{"role": "system", "content": parts}, {"role": "user", "content": then}]
    return {"messages": messages, "max_tokens": 1, "temperature": 0, **fields}


def test_a_marked_place_is_where_another_chat_resumes(fresh: HttpServer) -> None:
    path = "/v1/chat/completions"
    first = fresh.answer(path, marked_chat(LONG, then="one"))
    assert cached(first) == 0
    again = fresh.answer(path, marked_chat(LONG, then="two"))
    assert 0 < read(again) < 20
    alone = fresh.answer(path, marked_chat(LONG, then="two", cache_salt="other"))
    assert alone["choices"] == again["choices"]


def test_a_mark_inside_a_message_is_a_place_too(fresh: HttpServer) -> None:
    path = "/v1/chat/completions"
    fresh.answer(path, marked_chat(LONG, " the rest", then="one"))
    other = fresh.answer(path, marked_chat(LONG, " in another text", then="one"))
    assert read(other) < 40
    num_cached = cached(other)
    unmarked = {"messages": [{"role": "system", "content": LONG + "x"}], "max_tokens": 1}
    assert cached(fresh.answer(path, unmarked)) == num_cached


def written(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cache_write_tokens"])


def test_tokens_that_a_mark_adds_to_the_cache_are_counted_in_every_answer(fresh: HttpServer) -> None:
    path, salt = "/v1/chat/completions", {"cache_salt": "a"}
    first = fresh.answer(path, marked_chat(LONG, then="one"))
    assert 0 < written(first) < first["usage"]["prompt_tokens"]
    assert written(fresh.answer(path, marked_chat(LONG, then="two"))) == 0
    assert written(fresh.answer(path, marked_chat(LONG, then="one", **salt))) == written(first)
    assert (
        written(fresh.answer(path, {"messages": [{"role": "user", "content": LONG}], "max_tokens": 1})) == 0
    )
    parts = [{"type": "input_text", "text": LONG, **MARK}]
    body = {"input": [{"role": "system", "content": parts}, {"role": "user", "content": "b"}]}
    for expected in (written(first), 0):
        usage = fresh.answer("/v1/responses", {**body, "max_output_tokens": 1, "cache_salt": "c"})["usage"]
        assert usage["input_tokens_details"]["cache_write_tokens"] == expected
    streamed = fresh.events(
        path,
        {
            **marked_chat(LONG, then="one"),
            "cache_salt": "d",
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    )
    assert written(streamed[-1]) == written(first)


def test_a_repeated_turn_has_the_counts_of_the_first_time(fresh: HttpServer) -> None:
    path, session = "/v1/chat/completions", fresh.create_session()
    body = marked_chat(LONG, then="one", session_id=session)
    again = [fresh.post(path, body, headers={"Idempotency-Key": "k"}).json() for _ in range(2)]
    assert written(again[0]) == written(again[1]) > 0


def test_explicit_mode_keeps_marked_states_only(fresh: HttpServer) -> None:
    path, explicit = "/v1/chat/completions", {"prompt_cache_options": {"mode": "explicit"}}
    plain = {"messages": [{"role": "user", "content": LONG}], "max_tokens": 1}
    assert cached(fresh.answer(path, plain | explicit)) == 0
    assert cached(fresh.answer(path, plain)) == 0
    assert cached(fresh.answer(path, plain)) > 0
    assert cached(fresh.answer(path, plain | explicit)) == 0
    fresh.answer(path, marked_chat(LONG * 2, then="one", **explicit))
    marked = cached(fresh.answer(path, marked_chat(LONG * 2, then="one", **explicit)))
    assert 0 < marked < fresh.answer(path, marked_chat(LONG * 2, then="one"))["usage"]["prompt_tokens"] - 5


def test_marks_beyond_the_latest_are_not_kept_and_a_session_ignores_them(fresh: HttpServer) -> None:
    path = "/v1/chat/completions"
    texts = [f"{number} {LONG}" for number in range(6)]
    fresh.answer(path, marked_chat(*texts, then="one"))
    first = {"messages": [{"role": "system", "content": texts[0]}], "max_tokens": 1}
    assert cached(fresh.answer(path, first)) == 0
    session = fresh.create_session()
    for _ in range(2):
        body = {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG, **MARK}]}]}
        assert fresh.post(path, {**body, "max_tokens": 1, "session_id": session}).status_code == 200


def test_a_mark_in_the_input_of_a_response_is_where_another_resumes(fresh: HttpServer) -> None:
    def ask(then: str, **fields: Any) -> tuple[int, int]:
        part = {"type": "input_text", "text": LONG, **MARK}
        items = [{"role": "user", "content": [part]}, {"role": "user", "content": then}]
        body = {
            "input": items,
            "instructions": "be brief",
            "max_output_tokens": 2,
            "temperature": 0,
            **fields,
        }
        answer = fresh.answer("/v1/responses", body)
        assert fresh.answer("/v1/responses/input_tokens", {"input": items, "instructions": "be brief"})
        usage = answer["usage"]
        return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]

    explicit = {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}}
    assert ask("one", **explicit)[1] == 0
    num_tokens, num_cached = ask("two", store=False)
    assert 0 < num_tokens - num_cached < 20
    follow = {"input": [{"role": "user", "content": [{"type": "input_text", "text": "more", **MARK}]}]}
    first = fresh.answer("/v1/responses", {"input": "a", "max_output_tokens": 2, "seed": 1})
    body = {**follow, "previous_response_id": first["id"], "max_output_tokens": 2}
    assert fresh.post("/v1/responses", body).status_code == 200
