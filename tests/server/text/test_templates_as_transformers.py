"""Chat templates render what transformers renders, or are refused where it raises."""

from __future__ import annotations

import json
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.text.chat_template import ChatTemplate
from pararnn_server.text.conversation import Conversation, Message
from pararnn_server.text.template_renderer import TemplateRenderer

from tests.server.text.tokenizer_files import BOS, EOS, Files

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import PreTrainedTokenizerFast

RENDERER = TemplateRenderer()
LOOP = "{%- for message in messages %}"
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"  # noqa: E501  # one template a line
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "llama 3": (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content ="
        " '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim +"
        " '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
        "{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    ),
    "namespace": (
        "{%- set ns = namespace(system='', n=0) %}" + LOOP + "{%- if message.role == 'system' %}"
        "{%- set ns.system = message.content %}{%- else %}{%- set ns.n = ns.n + 1 %}{%- endif %}{%- endfor %}"
        "{{ ns.system }}/{{ ns.n }}"
    ),
    "blocks are trimmed": "  {% if true %}\n  a\n  {% endif %}\nb\n  {# note #}\nc",
    "generation": LOOP
    + "{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}{% endfor %}",
    "loop controls": LOOP
    + "{% if loop.first %}{% continue %}{% endif %}{{ message.role }}{% break %}{% endfor %}",
    "year": "{{ strftime_now('%Y') }}",
    "json": "{{ messages | tojson }}",
    "json, options": "{{ messages | tojson(ensure_ascii=True, indent=2, separators=(',', ': '), sort_keys=true) }}",  # noqa: E501  # one template a line
    "json, indent by text": "{{ messages | tojson(indent='\t') }}",
    "json is not escaped": "{{ '<&>é' | tojson }}",
    "tools is none": "{% if tools is not none %}T{% endif %}{% if tools is defined %}D{% endif %}{{ tools }}",
    "documents is none": "{% if documents is not none %}T{% endif %}{{ documents is none }}",
    "special tokens": "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token is defined }}",
    "undefined": "{{ nothing }}{{ messages[0].nothing }}{{ nothing is defined }}",
    "macro": "{% macro say(m) %}[{{ m.role }}]{{ m.content|trim }}{% endmacro %}"
    + LOOP
    + "{{ say(message) }}{% endfor %}",
    "dict": "{{ dict(a=1)['a'] }}{{ dict.fromkeys(['x']) }}{{ {'a': 1}.items() | list }}",
    "filters": "{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'eq', 'user') | list | length }}",  # noqa: E501  # one template a line
    "strings": "{{ messages[-1]['content'].split(' ')[-1].upper() }}{{ 'a,b'.replace(',', ';') }}{{ messages[0].content[:2] }}",  # noqa: E501  # one template a line
    "slices": "{% for m in messages[1:] %}{{ loop.index }}{{ m.role }}{{ loop.previtem.role if loop.previtem }}{% endfor %}",  # noqa: E501  # one template a line
    "raises": "{{ raise_exception('Only user messages are supported!') }}",
    "type error": "{{ messages[0].content + 1 }}",
    "division": "{{ 1 / 0 }}",
    "recursion": "{% macro r() %}{{ r() }}{% endmacro %}{{ r() }}",
    "immutable": "{% set _ = messages.append(1) %}",
    "underscore": "{% set n = namespace(_a=1) %}{{ n._a }}",
    "no attribute": "{{ nothing.a }}",
    "unknown filter of an argument": "{{ messages | tojson(nothing=1) }}",
}
CONVERSATIONS: tuple[list[Message], ...] = (
    [{"role": "user", "content": " héllo <|im_end|> "}],
    [
        {"role": "system", "content": "be\nbrief"},
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "three", "name": "ann"},
        {"role": "user", "content": ""},
    ],
)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    files = Files(config={"bos_token": BOS, "eos_token": EOS})
    return PreTrainedTokenizerFast.from_pretrained(files.write(tmp_path_factory.mktemp("files")))


def transformers_text(theirs: Any, source: str, messages: list[Message]) -> str | None:
    """Return the result; None if it raises any error."""
    try:
        text: str = theirs.apply_chat_template(
            messages, chat_template=source, add_generation_prompt=True, tokenize=False
        )
    except Exception:
        return None
    return text


@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_renders_as_in_transformers(source: str, theirs: Any) -> None:
    ours = ChatTemplate(source, {"bos_token": BOS, "eos_token": EOS}, RENDERER)
    for messages in CONVERSATIONS:
        expected = transformers_text(theirs, source, messages)
        if expected is None:
            with pytest.raises(
                BadRequest, match="supported" if "raise_exception" in source else None
            ) as refused:
                ours.render(Conversation(messages))
            assert refused.value.status == 400
        else:
            assert ours.render(Conversation(messages)) == [expected]


def test_the_year_is_this_one() -> None:
    [text] = ChatTemplate("{{ strftime_now('%Y') }}", {}, RENDERER).render(Conversation(CONVERSATIONS[0]))
    assert int(text) in (datetime.now().year, datetime.now().year - 1)


def test_named_templates_are_those_of_transformers(tmp_path: Path) -> None:
    for number, (config, others) in enumerate(
        (
            ({"chat_template": "x"}, {}),
            (
                {
                    "chat_template": [
                        {"name": "tool_use", "template": "t"},
                        {"name": "default", "template": "d"},
                    ]
                },
                {},
            ),
            ({"chat_template": "x"}, {"chat_template.jinja": "file"}),
            (
                {"chat_template": "x"},
                {"additional_chat_templates/rag.jinja": "r", "chat_template.jinja": "f"},
            ),
            ({"chat_template": "x"}, {"additional_chat_templates/rag.jinja": "r"}),
        )
    ):
        folder = tmp_path / str(number)
        files = Files(config=config)
        files.write(folder)
        for name, text in others.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        found = PreTrainedTokenizerFast.from_pretrained(folder).chat_template
        expected = found if isinstance(found, dict) else {"default": found}
        assert files.tokenizer(folder).chat_templates == expected, json.dumps(others)
