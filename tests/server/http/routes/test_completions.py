import json
from typing import Any

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http_server import HttpServer, counts

PROMPT = "the thin theé"


def text_of(events: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(choice["text"] for choice in choices if choice["index"] == index)


@pytest.mark.parametrize("seed", range(6))
def test_streamed_text_equals_unstreamed(server: HttpServer, seed: int) -> None:
    fields = {"prompt": PROMPT, "max_tokens": 40, "seed": seed, "stop": ["a", "\ufffd\ufffd7"]}
    whole = server.complete(**fields)["choices"][0]
    events = server.events("/v1/completions", fields)
    assert text_of(events) == whole["text"]
    assert events[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_same_seed_gives_same_text_and_another_seed_another(server: HttpServer) -> None:
    texts = [server.complete(PROMPT, seed=seed, max_tokens=30)["choices"][0]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_no_seed_draws_one(server: HttpServer) -> None:
    texts = {server.complete(PROMPT, max_tokens=30)["choices"][0]["text"] for _ in range(4)}
    assert len(texts) > 1


def test_text_and_its_ids_are_the_same_prompt(server: HttpServer) -> None:
    ids = server.answer("/tokenize", {"prompt": PROMPT})["tokens"]
    fields = {"temperature": 0, "max_tokens": 12}
    assert server.complete(PROMPT, **fields)["choices"] == server.complete(ids, **fields)["choices"]


def test_list_of_prompts_equals_prompts_alone(server: HttpServer) -> None:
    prompts = ["the", "in", "theé"]
    together = server.complete(prompts, seed=3, n=2, max_tokens=9)
    assert [choice["index"] for choice in together["choices"]] == list(range(6))
    alone = [server.complete(prompt, seed=3, n=2, max_tokens=9) for prompt in prompts]
    expected = [choice["text"] for answer in alone for choice in answer["choices"]]
    assert [choice["text"] for choice in together["choices"]] == expected
    for field in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert together["usage"][field] == sum(answer["usage"][field] for answer in alone)


def test_choices_of_one_prompt_differ(server: HttpServer) -> None:
    texts = [choice["text"] for choice in server.complete(PROMPT, n=4, seed=1, max_tokens=20)["choices"]]
    assert len(set(texts)) == 4


def test_streamed_choices_equal_unstreamed(server: HttpServer) -> None:
    fields = {"prompt": [[1, 2], [3, 4]], "n": 2, "seed": 5, "max_tokens": 15}
    events = server.events("/v1/completions", fields)
    assert [text_of(events, i) for i in range(4)] == [c["text"] for c in server.complete(**fields)["choices"]]


def test_scoring_harness_gets_what_it_reads(server: HttpServer) -> None:
    """Batched ids, one greedy token, echo: prompt + 1 values, the first null, the last tops its list."""
    prompts = [[5, 6, 7, 8], [83, 257, 256]]
    answer = server.complete(prompts, temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True)
    for index, (choice, prompt) in enumerate(zip(answer["choices"], prompts, strict=True)):
        logprobs = choice["logprobs"]
        assert choice["index"] == index
        assert {len(logprobs[name]) for name in logprobs} == {len(prompt) + 1}
        assert logprobs["token_logprobs"][0] is None
        assert logprobs["top_logprobs"][0] is None
        for value, top in zip(logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:], strict=True):
            assert value <= max(top.values()) <= 0.0
        assert logprobs["token_logprobs"][-1] == max(logprobs["top_logprobs"][-1].values())


def test_scores_without_generating_are_those_of_the_prompt(server: HttpServer) -> None:
    ids = [5, 6, 7, 8, 257]
    scored = server.complete(ids, temperature=0, max_tokens=0, logprobs=2, echo=True)["choices"][0]
    longer = server.complete(ids, temperature=0, max_tokens=1, logprobs=2, echo=True)["choices"][0]
    assert scored["finish_reason"] == "length"
    for name, values in scored["logprobs"].items():
        assert values == longer["logprobs"][name][:-1]


def test_score_of_a_prompt_token_is_that_of_generating_it(server: HttpServer) -> None:
    letters = {str(ord("x") - 33): 100, str(ord("y") - 33): 100}
    reply = server.complete([5, 6], temperature=0, max_tokens=4, logprobs=3, logit_bias=letters)["choices"][0]
    assert set(reply["text"]) <= {"x", "y"}
    ids = [5, 6, *server.answer("/tokenize", {"prompt": reply["text"]})["tokens"]]
    echoed = server.complete(ids, max_tokens=0, logprobs=3, echo=True)["choices"][0]["logprobs"]
    assert echoed["token_logprobs"][2:] == reply["logprobs"]["token_logprobs"]


def test_echo_gives_prompt_and_reply_streamed_or_not(server: HttpServer) -> None:
    plain = server.complete(PROMPT, temperature=0, max_tokens=6)["choices"][0]["text"]
    for logprobs in (None, 2):
        fields = {"prompt": PROMPT, "temperature": 0, "max_tokens": 6, "echo": True, "logprobs": logprobs}
        assert server.complete(**fields)["choices"][0]["text"] == PROMPT + plain
        assert text_of(server.events("/v1/completions", fields)) == PROMPT + plain


def test_streamed_logprobs_equal_unstreamed(server: HttpServer) -> None:
    fields = {"prompt": PROMPT, "seed": 4, "max_tokens": 20, "logprobs": 3, "echo": True}
    whole = server.complete(**fields)["choices"][0]["logprobs"]
    events = server.events("/v1/completions", fields)
    parts = [choice["logprobs"] for event in events for choice in event["choices"] if choice["logprobs"]]
    assert {name: [value for part in parts for value in part[name]] for name in whole} == whole


def test_text_offsets_point_at_the_tokens(server: HttpServer) -> None:
    choice = server.complete("the thinin", seed=2, max_tokens=0, logprobs=0, echo=True)["choices"][0]
    offsets, tokens = choice["logprobs"]["text_offset"], choice["logprobs"]["tokens"]
    for offset, token in zip(offsets, tokens, strict=True):
        assert choice["text"][offset : offset + len(token)] == token


def test_usage_chunk_comes_last_and_only_on_request(server: HttpServer) -> None:
    fields = {"prompt": PROMPT, "temperature": 0, "max_tokens": 5}
    usage = counts(server.complete(**fields))
    events = server.events("/v1/completions", {**fields, "stream_options": {"include_usage": True}})
    assert events[-1]["choices"] == []
    assert counts(events[-1]) == usage
    assert all(event["usage"] is None for event in events[:-1])
    assert all("usage" not in event for event in server.events("/v1/completions", fields))


def test_continuous_usage_counts_up_to_the_whole(server: HttpServer) -> None:
    fields = {"prompt": PROMPT, "seed": 1, "max_tokens": 12}
    options = {"continuous_usage_stats": True, "include_usage": True}
    events = server.events("/v1/completions", {**fields, "stream_options": options})
    said = [event["usage"]["completion_tokens"] for event in events]
    assert said == sorted(said)
    assert counts(events[-1]) == counts(server.complete(**fields))


def test_recorded_fields_come_back(server: HttpServer) -> None:
    recorded = {"user": "u", "safety_identifier": "s", "metadata": {"k": "v"}, "prompt_cache_key": "p"}
    fields = {"prompt": "the", "max_tokens": 2, **recorded}
    assert recorded.items() <= server.complete(**fields).items()
    assert recorded.items() <= server.events("/v1/completions", fields)[0].items()


def test_stop_ends_the_reply_before_it(server: HttpServer) -> None:
    bias = {str(ord("x") - 33): 100, str(ord("y") - 33): 99.0}
    free = server.complete("a", logit_bias=bias, max_tokens=40, seed=1)["choices"][0]["text"]
    assert set(free) == {"x", "y"}
    stopped = server.complete("a", logit_bias=bias, max_tokens=40, seed=1, stop="yx")["choices"][0]
    assert stopped["text"] == free[: free.index("yx")]
    assert stopped["finish_reason"] == "stop"


def test_special_token_in_a_prompt_is_that_token(server: HttpServer, loaded: Loaded) -> None:
    ids = server.answer("/tokenize", {"prompt": "a<|eos|>b"})["tokens"]
    assert loaded.tokenizer.eos_id in ids
    assert server.answer("/detokenize", {"tokens": ids})["prompt"] == "ab"


def test_answers_are_ascii_json_of_one_line(server: HttpServer) -> None:
    response = server.post("/v1/completions", {"prompt": "é", "echo": True, "max_tokens": 1})
    assert response.content.isascii()
    assert b"\n" not in response.content
    assert json.loads(response.content)["choices"][0]["text"].startswith("é")
