"""Chat templates that show tools, in the shapes that models in use have."""

from __future__ import annotations

from typing import Any

from pararnn_server.text.conversation import Conversation, Message, message, tool_call, tool_result
from pararnn_server.tools.tool import Tool

HERMES = (
    "{%- if tools %}"
    "{{- '<|user|>system\n' }}"
    "{%- if messages[0].role == 'system' %}{{- messages[0].content + '\n' }}{%- endif %}"
    "{{- 'Call functions in <tool_call></tool_call>.\n<tools>' }}"
    "{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}"
    "{{- '\n</tools><|eos|>\n' }}"
    "{%- elif messages[0].role == 'system' %}{{- '<|user|>system\n' + messages[0].content + '<|eos|>\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' or (message.role == 'system' and not loop.first)"
    " or (message.role == 'assistant' and not message.tool_calls) %}"
    "{{- '<|user|>' + message.role + '\n' + message.content + '<|eos|>\n' }}"
    "{%- elif message.role == 'assistant' %}"
    "{{- '<|user|>assistant' }}"
    "{%- if message.content %}{{- '\n' + message.content }}{%- endif %}"
    "{%- for tool_call in message.tool_calls %}"
    "{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}"
    '{{- \'\n<tool_call>\n{"name": "\' + tool_call.name + \'", "arguments": \' }}'
    "{{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}"
    "{%- endfor %}{{- '<|eos|>\n' }}"
    "{%- elif message.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|user|>user' }}{%- endif %}"
    "{{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|eos|>\n' }}{%- endif %}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|user|>assistant\n' }}{%- endif %}"
)
PLAIN_JSON = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message.role == 'tool' %}"
    "{{- '<|user|>ipython\n' + (message.content | tojson) + '<|eos|>' }}"
    "{%- elif message.tool_calls %}"
    "{%- if message.tool_calls | length != 1 %}{{- raise_exception('one call at a time') }}{%- endif %}"
    "{%- set call = message.tool_calls[0].function %}"
    '{{- \'<|assistant|>{"name": "\' + call.name + \'", "parameters": \' }}{{- call.arguments | tojson }}'
    "{{- '}<|eos|>' }}"
    "{%- else %}"
    "{{- '<|assistant|>' if message.role == 'assistant' else '<|user|>' }}"
    "{%- if loop.first and tools %}"
    "{%- for tool in tools %}{{- tool | tojson(indent=4) + '\n' }}{%- endfor %}{%- endif %}"
    "{{- message.content | trim }}{%- if message.role == 'assistant' %}{{- '<|eos|>' }}{%- endif %}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
ARGUMENTS_AS_TEXT = (
    "{% for tool in tools or [] %}{{ tool.function.name ~ tool.function.parameters | tojson }}{% endfor %}"
    "{% for m in messages %}"
    "{% if m.tool_calls %}"
    "{% for call in m.tool_calls %}"
    "{{ '<|assistant|>call ' + call.function.name + '\n' + call.function.arguments + '<|eos|>' }}"
    "{% endfor %}"
    "{% elif m.role == 'tool' %}{{ '<|user|>result ' + m.content }}"
    "{% else %}<|{{ 'assistant' if m.role == 'assistant' else 'user' }}|>{{ m.content }}"
    "{% if m.role == 'assistant' %}<|eos|>{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEMPLATES = {"hermes": HERMES, "plain JSON": PLAIN_JSON, "arguments as text": ARGUMENTS_AS_TEXT}
WEATHER = Tool.of(
    "get_weather",
    "Return the weather.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "A city."}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
)
TIME = Tool({"strict": True, "name": "get_time", "parameters": {"type": "object", "properties": {}}})


def with_call(arguments: dict[str, Any], content: str | None = None) -> list[Message]:
    """A question, a call with these arguments, and its result."""
    called = message("assistant", content, tool_calls=[tool_call("call00000", "get_weather", arguments)])
    return [message("user", "How is it?"), called, tool_result("call00000", "21 degrees")]


CONVERSATIONS = (
    Conversation([message("user", "hi")], [WEATHER]),
    Conversation([message("system", "s"), *with_call({"city": "Zürich", "days": 1.5})], [WEATHER, TIME]),
    Conversation([*with_call({}), message("assistant", "warm"), message("user", "thanks")], [TIME]),
    Conversation(with_call({"city": "<&>\n", "days": {"a": [None, True]}})),
)
