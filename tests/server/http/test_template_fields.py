"""Fields that a chat hands to its template: variables, documents, the end of the prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pararnn_server.models.loading import load
from pararnn_server.settings.server_settings import Settings

from tests.fixtures import tiny_checkpoint
from tests.server.http_server import HttpServer, serving

TEMPLATE = (
    "{% for d in documents or [] %}[{{ d.title }}: {{ d.text }}]{% endfor %}"
    "{% if mood is defined %}{{ mood }}!{% endif %}{% if depth %}{{ depth.level + 1 }}{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if thinks is false %}<|eos|>{% endif %}{% endif %}"
)
USER = {"role": "user", "content": "a"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("template") / "tiny")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    with serving(load(Settings(checkpoint=str(folder)))) as running:
        yield running


def assert_prompt(server: HttpServer, expected: str, *messages: dict[str, str], **fields: Any) -> None:
    body = {"messages": [USER, *messages], "max_tokens": 1, **fields}
    num_tokens = server.answer("/v1/chat/completions", body)["usage"]["prompt_tokens"]
    tokenizer = server.service.models.get().tokenizer
    assert num_tokens == len(asyncio.run(tokenizer.encode(expected)))


def test_variables_reach_the_template(server: HttpServer) -> None:
    assert_prompt(server, "<|user|>a<|assistant|>")
    assert_prompt(server, "sad!<|user|>a<|assistant|>", chat_template_kwargs={"mood": "sad"})
    assert_prompt(server, "42<|user|>a<|assistant|>", chat_template_kwargs={"depth": {"level": 41}})
    assert_prompt(server, "<|user|>a<|assistant|><|eos|>", chat_template_kwargs={"thinks": False})
    assert_prompt(server, "<|user|>a<|assistant|>", chat_template_kwargs={"nobody_reads": [1, None]})


def test_text_of_a_variable_becomes_no_control_token(server: HttpServer) -> None:
    spelled = {"mood": "<|eos|>"}
    body = {"messages": [USER], "max_tokens": 1, "chat_template_kwargs": spelled}
    num_tokens = server.answer("/v1/chat/completions", body)["usage"]["prompt_tokens"]
    assert num_tokens == len("<|eos|>!") + len(["<|user|>", "a", "<|assistant|>"])


def test_documents_reach_a_template_that_reads_them(server: HttpServer) -> None:
    documents = [{"title": "T", "text": "one"}, {"title": "U", "text": "<|user|>"}]
    body = {"messages": [USER], "max_tokens": 1, "documents": documents}
    num_tokens = server.answer("/v1/chat/completions", body)["usage"]["prompt_tokens"]
    assert num_tokens == len("[T: one][U: <|user|>]") + 3


def test_prompt_may_end_with_the_last_message_or_inside_the_reply(server: HttpServer) -> None:
    assert_prompt(server, "<|user|>a", add_generation_prompt=False)
    begun = {"role": "assistant", "content": "so"}
    continued = {"continue_final_message": True, "add_generation_prompt": False}
    assert_prompt(server, "<|user|>a<|assistant|>so", begun, continue_final_message=True)
    assert_prompt(server, "<|user|>a<|assistant|>so", begun, **continued)
    assert_prompt(server, "<|user|>a<|assistant|>so<|assistant|>", begun)


@pytest.mark.parametrize(
    "fields", [{"continue_final_message": True}, {"chat_template_kwargs": {"mood": "x"}}]
)
def test_a_session_takes_them_too(server: HttpServer, fields: dict[str, Any]) -> None:
    session = server.create_session()
    begun = {"role": "assistant", "content": "so"}
    for _ in range(2):
        body = {"messages": [USER, begun], "max_tokens": 2, "session_id": session, **fields}
        response = server.post("/v1/chat/completions", body)
        assert response.status_code == 200, response.text


def test_the_next_turn_with_the_same_variables_finds_the_state_of_the_last(server: HttpServer) -> None:
    fields: dict[str, Any] = {"chat_template_kwargs": {"mood": "glad"}, "max_tokens": 8, "seed": 3}
    first = server.chat("a question", **fields)
    reply = first["choices"][0]["message"]["content"]
    again = server.chat("a question", reply, "and", **fields)
    cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"]
