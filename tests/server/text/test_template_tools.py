"""Tools, calls and results reach the prompt as in transformers, or are refused: none is silently dropped."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.text.chat_template import ChatTemplate
from pararnn_server.text.conversation import Conversation, Message, message
from pararnn_server.text.template_renderer import TemplateRenderer

from tests.fixtures import CHAT_TEMPLATE
from tests.server.text.tokenizer_files import BOS, EOS, Files
from tests.server.text.tool_templates import (
    ARGUMENTS_AS_TEXT,
    CONVERSATIONS,
    HERMES,
    PLAIN_JSON,
    TEMPLATES,
    WEATHER,
    with_call,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import PreTrainedTokenizerFast

RENDERER = TemplateRenderer()
TOKENS = {"bos_token": BOS, "eos_token": EOS}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    files = Files(config=TOKENS)
    return PreTrainedTokenizerFast.from_pretrained(files.write(tmp_path_factory.mktemp("files")))


def as_text(known: Message) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in known.get("tool_calls", [])
    ]
    return {**known, "tool_calls": calls} if calls else dict(known)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_tools_render_as_in_transformers(source: str, conversation: Conversation, theirs: Any) -> None:
    given = [as_text(each) if source == ARGUMENTS_AS_TEXT else dict(each) for each in conversation.messages]
    expected = theirs.apply_chat_template(
        given,
        tools=[tool.for_template() for tool in conversation.tools] or None,
        chat_template=source,
        add_generation_prompt=True,
        tokenize=False,
    )
    template = ChatTemplate(source, TOKENS, RENDERER)
    template.check_is_shown(conversation)
    # The words of a text are the same in the escapes of either writer of JSON.
    assert template.render(conversation) == [expected.replace("Z\\u00fcrich", "Zürich")]


@pytest.mark.parametrize(
    ("source", "several", "needs_text", "call_format"),
    [
        (HERMES, True, False, "hermes"),
        (PLAIN_JSON, False, False, "llama_json"),
        (PLAIN_JSON.replace('"parameters": ', '"arguments": '), False, False, "json"),
        (ARGUMENTS_AS_TEXT, True, True, None),
    ],
)
def test_abilities_of_a_template_are_found_by_trying(
    source: str, several: bool, needs_text: bool, call_format: str | None
) -> None:
    tools = ChatTemplate(source, TOKENS, RENDERER).tools
    assert (tools.shows_tools, tools.shows_calls, tools.shows_results) == (True, True, True)
    assert (tools.shows_several, tools.needs_text, tools.needs_content) == (several, needs_text, False)
    assert (tools.call_format and tools.call_format.name) == call_format


def test_a_template_that_joins_contents_is_given_an_empty_text() -> None:
    source = HERMES.replace(
        "{%- if message.content %}{{- '\n' + message.content }}{%- endif %}", "%s"
    ).replace("%s", "{{- message.content + '' }}")
    template = ChatTemplate(source, TOKENS, RENDERER)
    assert template.tools.needs_content
    assert '"arguments": {"city": "Bern"}' in template.render(Conversation(with_call({"city": "Bern"})))[0]


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (Conversation([message("user", "a")], [WEATHER]), "tools"),
        (Conversation(with_call({})), "messages.1.tool_calls"),
        (Conversation(with_call({})[2:]), "messages.0.role"),
    ],
)
def test_a_template_without_tools_refuses_what_it_would_drop(conversation: Conversation, param: str) -> None:
    dropping = "{% for m in messages if m.role != 'tool' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    for source in (dropping, dropping + "{# tools #}"):
        with pytest.raises(BadRequest, match="does not show") as refused:
            ChatTemplate(source, TOKENS, RENDERER).check_is_shown(conversation)
        assert refused.value.param == param


def test_a_template_without_tools_shows_results_where_it_shows_any_role() -> None:
    template = ChatTemplate(CHAT_TEMPLATE + "{# tool #}", TOKENS, RENDERER)
    assert template.tools.shows_results
    assert not template.tools.shows_tools


def test_the_template_called_tool_use_renders_conversations_with_tools() -> None:
    template = ChatTemplate(CHAT_TEMPLATE, TOKENS, RENDERER, tool_source=HERMES)
    plain, with_tools = CONVERSATIONS[3], CONVERSATIONS[0]
    assert template.tools.shows_tools
    assert "<tools>" in template.render(with_tools)[0]
    with pytest.raises(BadRequest, match="does not show calls"):
        template.check_is_shown(plain)


@pytest.mark.parametrize("source", [HERMES, PLAIN_JSON])
def test_a_result_follows_a_call_as_in_the_whole_conversation(source: str) -> None:
    template = ChatTemplate(source, TOKENS, RENDERER)
    question, called, result = with_call({"city": "Bern", "days": 1})
    opening, whole = template.render(
        Conversation([question], [WEATHER]), Conversation([question, called, result], [WEATHER])
    )
    [delta] = template.render_delta(Conversation([result], [WEATHER]))
    assert whole.startswith(opening)
    assert whole.endswith(delta)
    written = whole[len(opening) : -len(delta)]
    assert written.strip().startswith(("<tool_call>", "{"))
    assert written.endswith(("</tool_call>", "}"))
