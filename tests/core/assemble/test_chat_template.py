"""The chat template of assembled models: the form that they were trained on, and tools."""

import json
from typing import Any

import pytest
from jinja2 import TemplateError
from pararnn_server.text.template_environment import compiled

from checkpoints.distil.text.documents import chat_text, prompt_text
from pararnn_core.assemble.assemble import CHAT_TEMPLATE_FILE

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def render(messages: list[dict[str, Any]], tools: Any = None, opened: bool = True) -> str:
    template = compiled(CHAT_TEMPLATE_FILE.read_text())
    return template.render(messages=messages, tools=tools, add_generation_prompt=opened)


def as_messages(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "Hi")],
        [("system", "Be brief."), ("user", "  two\n\nlines "), ("assistant", ""), ("user", "<b>&\"'")],
        [("user", "a"), ("system", "in the middle"), ("user", "b")],
    ],
)
def test_without_tools_a_chat_has_the_form_of_the_training_text(turns: list[tuple[str, str]]) -> None:
    assert render(as_messages(turns)) == prompt_text(turns)
    assert render(as_messages(turns), opened=False) == chat_text(turns)


def test_tools_are_listed_after_the_system_message() -> None:
    text = render(as_messages([("system", "Be brief."), ("user", "Hi")]), [TOOL])
    assert text.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n\n")
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in text
    assert text.endswith("</tool_call><|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("Be brief.") == 1


@pytest.mark.parametrize("arguments", [{"city": "Bern"}, '{"city": "Bern"}'])
def test_calls_and_their_results_have_the_form_of_hermes(arguments: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    messages = [
        *as_messages([("user", "Weather?")]),
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": "cold"},
    ]
    written = '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Bern"}}\n</tool_call>'
    results = "\n<tool_response>\nsunny\n</tool_response>\n<tool_response>\ncold\n</tool_response>"
    assert render(messages, [TOOL]).endswith(
        f"<|im_start|>assistant{written}{written}<|im_end|>\n"
        f"<|im_start|>user{results}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_another_role_is_refused() -> None:
    with pytest.raises(TemplateError, match="role must be"):
        render(as_messages([("narrator", "x")]))
