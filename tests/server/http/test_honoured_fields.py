"""Every honoured field does something: with it and without it the answers differ."""

import re
from typing import Any

import pytest
from pararnn_server.models.loading import Loaded

from tests.server.http.test_documentation import listed, section
from tests.server.http_server import HttpServer, counts, serving

BASE: dict[str, Any] = {"max_tokens": 16, "seed": 11}
X, Y = (str(ord(letter) - 33) for letter in "xy")
EOS, USER = "262", "263"
GREEDY = {"temperature": 0}
BEGUN = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "so"}]
FLAT = {"logit_bias": {X: 100, Y: 100}}
Case = tuple[dict[str, Any], dict[str, Any]]

# Field -> what else both requests have, and the value that makes the difference.
DIFFERENCES: dict[str, Case] = {
    "max_tokens": ({}, {"max_tokens": 3}),
    "max_completion_tokens": ({"max_tokens": None}, {"max_completion_tokens": 3}),
    "max_output_tokens": ({"max_tokens": None}, {"max_output_tokens": 3}),
    "n_predict": ({"max_tokens": None}, {"n_predict": 3}),
    "temperature": ({}, GREEDY),
    "top_p": ({}, {"top_p": 0.01}),
    "top_k": ({}, {"top_k": 1}),
    "min_p": ({}, {"min_p": 1.0}),
    "repetition_penalty": (GREEDY | FLAT, {"repetition_penalty": 100.0}),
    "repeat_penalty": (GREEDY | FLAT, {"repeat_penalty": 100.0}),
    "repeat_last_n": (GREEDY | FLAT | {"repetition_penalty": 100.0}, {"repeat_last_n": 0}),
    "bad_words": (FLAT, {"bad_words": ["x"]}),
    "presence_penalty": (GREEDY | FLAT, {"presence_penalty": 2.0}),
    "frequency_penalty": (GREEDY | FLAT, {"frequency_penalty": 2.0}),
    "logit_bias": ({}, {"logit_bias": {X: 100}}),
    "seed": ({}, {"seed": 12}),
    "min_tokens": ({"logit_bias": {EOS: 100}}, {"min_tokens": 3}),
    "stop_token_ids": (FLAT, {"stop_token_ids": [int(X), int(Y)]}),
    "include_stop_str_in_output": (FLAT | {"stop": ["x", "y"]}, {"include_stop_str_in_output": True}),
    "skip_special_tokens": ({"logit_bias": {USER: 100}}, {"skip_special_tokens": False}),
    "stop": (FLAT, {"stop": ["x", "y"]}),
    "n": ({}, {"n": 2}),
    "ignore_eos": ({"logit_bias": {EOS: 100}}, {"ignore_eos": True}),
    "response_format": ({}, {"response_format": {"type": "json_object"}}),
    "structured_outputs": ({}, {"structured_outputs": {"regex": "[0-9]+"}}),
    "guided_json": ({}, {"guided_json": {"type": "integer"}}),
    "guided_regex": ({}, {"guided_regex": "[0-9]+"}),
    "guided_choice": ({}, {"guided_choice": ["yes", "no"]}),
    "guided_grammar": ({}, {"guided_grammar": "root ::= [0-9]+"}),
    "json_schema": ({}, {"json_schema": {"type": "integer"}}),
    "grammar": ({}, {"grammar": "root ::= [0-9]+"}),
    "messages": ({}, {"messages": [{"role": "user", "content": "other"}]}),
    "add_generation_prompt": ({}, {"add_generation_prompt": False}),
    "continue_final_message": ({"messages": BEGUN}, {"continue_final_message": True}),
    "prompt": ({}, {"prompt": "other"}),
    "echo": ({}, {"echo": True}),
}
TESTED_ELSEWHERE = {
    "model": "test_bad_requests.py::test_unknown_model_is_a_404",
    "return_token_ids": "test_token_reports.py",
    "return_tokens_as_token_ids": "test_token_reports.py",
    "prompt_logprobs": "test_token_reports.py",
    "chat_template_kwargs": "test_template_fields.py::test_variables_reach_the_template",
    "documents": "test_template_fields.py::test_documents_reach_a_template_that_reads_them",
    "stream": "test_routes_completions.py::test_streamed_text_equals_unstreamed",
    "stream_options": "test_routes_completions.py::test_usage_chunk_comes_last_and_only_on_request",
    "logprobs": "test_routes_completions.py::test_scoring_harness_gets_what_it_reads",
    "top_logprobs": "test_routes_chat.py::test_logprobs_tell_token_bytes_and_alternatives",
    "session_id": "test_routes_sessions.py",
    "expected_turn": "test_routes_sessions.py::test_expected_turn_guards_against_another_writer",
    "tools": "test_tools.py::test_auto_is_text_and_then_a_call_once_the_model_opens_one",
    "tool_choice": "test_tools.py::test_required_and_named_are_well_formed_calls_whatever_the_weights",
    "parallel_tool_calls": "test_tools.py::test_one_call_at_most_without_parallel_calls",
    "timeout": "test_routes_sessions.py::test_timeout_restores_the_last_turn",
    "prompt_cache_options": "test_routes_state_cache.py::test_explicit_mode_keeps_marked_states_only",
    "cache_salt": "test_routes_state_cache.py::test_keys_and_salts_never_share",
}
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "completions": ("/v1/completions", {"prompt": "the x"}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "the x"}]}),
}


def essence(answer: dict[str, Any]) -> Any:
    """Return the parts of the replies that a client uses."""
    return [choice.get("text") or choice.get("message") for choice in answer["choices"]], counts(answer)


@pytest.mark.parametrize("route", ROUTES)
def test_table_covers_every_honoured_field(route: str) -> None:
    assert set(listed("Honoured", route)) <= DIFFERENCES.keys() | TESTED_ELSEWHERE.keys()


@pytest.mark.parametrize(
    ("route", "field"),
    [(route, name) for route in ROUTES for name in listed("Honoured", route) if name in DIFFERENCES],
)
def test_field_changes_the_answer(server: HttpServer, route: str, field: str) -> None:
    path, content = ROUTES[route]
    common, change = DIFFERENCES[field]
    without = server.answer(path, {**BASE, **content, **common})
    assert essence(server.answer(path, {**BASE, **content, **common})) == essence(without)
    assert essence(server.answer(path, {**BASE, **content, **common, **change})) != essence(without)


def test_null_is_the_default_of_every_field(server: HttpServer) -> None:
    for route, (path, content) in ROUTES.items():
        titles = ("Honoured", "Recorded and echoed", "Accepted only at the neutral value")
        nulls = {name: None for title in titles for name in listed(title, route)} | content | BASE
        assert essence(server.answer(path, nulls)) == essence(server.answer(path, content | BASE))


NEUTRAL: dict[str, list[tuple[str, Any]]] = {
    "both": [
        ("response_format", {"type": "text"}),
        ("logit_bias", {}),
        ("service_tier", "auto"),
        ("service_tier", "default"),
        ("bad_words", []),
        ("spaces_between_special_tokens", True),
        ("spaces_between_special_tokens", False),
        ("min_tokens", 0),
        ("stop_token_ids", []),
        ("include_stop_str_in_output", False),
        ("skip_special_tokens", True),
        ("return_token_ids", False),
        ("return_tokens_as_token_ids", False),
        ("use_beam_search", False),
        ("length_penalty", 1),
        ("repeat_penalty", 1.0),
        ("repeat_last_n", -1),
        ("typical_p", 1.0),
        ("top_a", 0),
        ("mirostat", 0),
        ("dynatemp_range", 0.0),
        ("dry_multiplier", 0.0),
        ("xtc_probability", 0.0),
        ("priority", 0),
        ("cache_prompt", True),
        ("prompt_cache_retention", "24h"),
        ("prompt_cache_retention", "in_memory"),
        ("timings_per_token", False),
    ],
    "completions": [("best_of", 1), ("suffix", ""), ("add_special_tokens", True)],
    "chat": [
        ("store", False),
        ("tools", []),
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("parallel_tool_calls", True),
        ("chat_template_kwargs", {}),
        ("echo", False),
        ("add_generation_prompt", True),
        ("continue_final_message", False),
        ("add_special_tokens", False),
        ("documents", []),
        ("modalities", ["text"]),
        ("reasoning_effort", "none"),
        ("verbosity", "medium"),
    ],
}
NEUTRAL_CASES = [
    (route, field, value)
    for routes, cases in NEUTRAL.items()
    for field, value in cases
    for route in (ROUTES if routes == "both" else (routes,))
]


@pytest.mark.parametrize("route", ROUTES)
def test_every_field_with_a_neutral_value_is_tried_with_it(route: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| .*`", section("Accepted only at the neutral value"), re.M)
    routes = {"completions": ("all", "both", "completions"), "chat": ("all", "both", "dialogue", "chat")}
    named = {field for field, of in rows if of in routes[route]}
    assert named <= {field for of, field, _ in NEUTRAL_CASES if of == route}


@pytest.mark.parametrize(("route", "field", "value"), NEUTRAL_CASES)
def test_neutral_value_changes_nothing(server: HttpServer, route: str, field: str, value: Any) -> None:
    path, content = ROUTES[route]
    answers = [server.answer(path, content | BASE | extra) for extra in ({}, {field: value})]
    assert essence(answers[0]) == essence(answers[1])


@pytest.mark.parametrize("route", ROUTES)
def test_unknown_field_that_is_null_changes_nothing(server: HttpServer, route: str) -> None:
    path, content = ROUTES[route]
    answers = [
        server.answer(path, content | BASE | extra) for extra in ({}, {"surprise": None, "top_n": None})
    ]
    assert essence(answers[0]) == essence(answers[1])


def test_nulls_inside_messages_change_nothing(server: HttpServer) -> None:
    """An SDK writes such nulls into a message that it has read before."""
    plain = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    dumped = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a", "annotations": None}],
            "phase": None,
            "name": None,
            "tool_call_id": None,
        }
    ]
    answers = [
        server.answer("/v1/chat/completions", {"messages": messages, **BASE}) for messages in (plain, dumped)
    ]
    assert essence(answers[0]) == essence(answers[1])


def test_completions_end_after_16_tokens_by_default(server: HttpServer) -> None:
    assert server.complete("the", ignore_eos=True)["usage"]["completion_tokens"] == 16


def test_dialogue_is_bounded_only_by_the_server_by_default(loaded: Loaded) -> None:
    with serving(loaded, max_output_tokens=1500) as server:
        assert server.chat("the", ignore_eos=True)["usage"]["completion_tokens"] == 1500
        endless = {"input": "the", "ignore_eos": True}
        assert server.answer("/v1/responses", endless)["usage"]["output_tokens"] == 1500
        assert server.complete("the", n_predict=-1, ignore_eos=True)["usage"]["completion_tokens"] == 1500


def test_seed_of_minus_one_is_drawn(server: HttpServer) -> None:
    texts = {server.complete("the", seed=-1, max_tokens=16)["choices"][0]["text"] for _ in range(4)}
    assert len(texts) > 1


def test_minus_one_turns_top_k_off(server: HttpServer) -> None:
    answers = [server.complete("the", **BASE, top_k=top_k) for top_k in (-1, 0, None)]
    assert len({answer["choices"][0]["text"] for answer in answers}) == 1
