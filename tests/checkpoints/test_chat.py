import ast

import pytest
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from checkpoints.chat_corpus import Function, chat_texts, conversation, functions_of
from checkpoints.corpus import Document
from pararnn_core.training.chat_template import CHAT_TEMPLATE, render_chat

SOURCE = '''
class Box:
\x0c
    @property
    def area(self):
        """Return the area.

        In square metres.
        """
        return self.width * self.height

    def undocumented(self):
        return 1


def only_documented():
    """There is no body beside this text."""


async def fetch(url):
    """Fetch the page at this address."""
    return await get(url)
'''


def function(digest_seed: int) -> Function:
    return Function(f"f{digest_seed}", "Do something useful.", f"def f{digest_seed}():\n    pass")


def test_template_renders_as_trained() -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "More"},
    ]
    assert render_chat(messages, add_generation_prompt=True) == (
        "<|endoftext|><|system|>Be short.<|end|><|user|>Hello<|end|>"
        "<|assistant|>Hi<|end|><|user|>More<|end|><|assistant|>"
    )


def test_generation_prompt_is_what_training_puts_before_a_reply() -> None:
    for seed in range(40):
        turns = conversation(function(seed))
        prompt = render_chat(turns[:-1], add_generation_prompt=True)
        assert render_chat(turns) == f"{prompt}{turns[-1]['content']}<|end|>"


def test_unknown_roles_are_refused() -> None:
    with pytest.raises(ValueError, match="role must be"):
        render_chat([{"role": "tool", "content": "x"}])


def test_template_needs_nothing_but_the_sandbox() -> None:
    rendered = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE).render(messages=[], bos_token="B")
    assert rendered == "B"
    with pytest.raises(SecurityError):
        ImmutableSandboxedEnvironment().from_string("{{ ''.__class__.mro() }}").render()


def test_functions_lose_indentation_and_docstring() -> None:
    found = {f.name: f for f in functions_of(Document("box.py", SOURCE))}
    assert found.keys() == {"area", "fetch"}
    assert found["area"].code == "def area(self):\n    return self.width * self.height"
    assert found["area"].summary == "Return the area."
    assert found["fetch"].code.startswith("async def fetch(url):")


def test_code_in_chats_parses() -> None:
    for found in functions_of(Document("ast.py", SOURCE)):
        ast.parse(found.code)


def test_unparsable_sources_give_no_functions() -> None:
    assert not list(functions_of(Document("broken.py", "def (:\n")))


def test_every_conversation_alternates_and_ends_with_a_reply() -> None:
    for seed in range(40):
        roles = [turn["role"] for turn in conversation(function(seed)) if turn["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_chats_are_deterministic_and_bounded() -> None:
    documents = [Document(f"m{i}.py", SOURCE.replace("area", f"area{i}")) for i in range(100)]
    texts = chat_texts(documents, max_bytes=3000)
    assert texts == chat_texts(documents[::-1], max_bytes=3000)
    assert 3000 <= sum(len(text.encode()) for text in texts) < 6000
    assert len(set(texts)) > len(texts) // 2
