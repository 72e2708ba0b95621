"""Special tokens, and the chat template of models that are trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2.sandbox import ImmutableSandboxedEnvironment

END_OF_TEXT = "<|endoftext|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END_OF_TURN = "<|end|>"
SPECIAL_TOKENS = (END_OF_TEXT, SYSTEM, USER, ASSISTANT, END_OF_TURN)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('role must be system, user or assistant, not ' ~ message['role']) }}"
    "{% endif %}"
    "{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Message = Mapping[str, str]


def render_chat(messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    """Render messages with `role` and `content`. Raises ValueError for an unknown role."""
    environment = ImmutableSandboxedEnvironment()
    environment.globals["raise_exception"] = _raise
    template = environment.from_string(CHAT_TEMPLATE)
    return template.render(
        messages=messages, add_generation_prompt=add_generation_prompt, bos_token=END_OF_TEXT
    )


def _raise(message: str) -> None:
    raise ValueError(message)
