"""A conversation's ids: those of its text as a whole, whichever parts were encoded before."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pararnn_server.errors import BadRequest
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text import chat_prompt
from pararnn_server.text.chat_prompt import OFF_LOOP_CHARS, ChatPrompts
from pararnn_server.text.chat_template import ChatTemplate
from pararnn_server.text.conversation import Conversation, Message, message
from pararnn_server.text.encoded_prefixes import EncodedPrefixes
from pararnn_server.text.prompt_places import TextPlace
from pararnn_server.text.text_encoder import TokenLimit
from pararnn_server.text.tokenizer import Tokenizer

from pararnn_core.checkpoint import checkpoint_info

SHIPPED = Path(__file__).resolve().parents[3] / "checkpoints" / "paragru-5m-stdlib-int8"
ALICE, BOB = Partition("alice"), Partition("bob")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(SHIPPED, checkpoint_info(SHIPPED).config.vocab_size)


@pytest.fixture(scope="module")
def chat(tokenizer: Tokenizer) -> ChatPrompts:
    return ChatPrompts(tokenizer, ChatTemplate(tokenizer.chat_templates["default"], tokenizer.named_tokens))


def conversation(texts: list[str]) -> list[Message]:
    roles = ("user", "assistant")
    return [message(roles[i % 2], text) for i, text in enumerate(texts)]


TEXTS = st.lists(
    st.one_of(st.text(max_size=40), st.sampled_from(["", "\n", " a", "a ", "x\n\ny", "def f():\n    pass"])),
    min_size=1,
    max_size=8,
)


@given(texts=TEXTS)
def test_the_ids_of_a_conversation_are_those_of_its_text(
    chat: ChatPrompts, tokenizer: Tokenizer, texts: list[str]
) -> None:
    assert chat.template is not None
    [whole] = chat.template.render(Conversation(conversation(texts)))
    expected = asyncio.run(tokenizer.encode(whole))
    for _ in range(2):
        assert list(asyncio.run(chat.encode(conversation(texts), ALICE))) == expected


@given(texts=TEXTS, reply=st.text(max_size=20), more=st.text(max_size=20))
def test_a_history_is_where_the_next_turn_begins(
    chat: ChatPrompts, texts: list[str], reply: str, more: str
) -> None:
    known = asyncio.run(chat.encode_shared_prefix(conversation(texts), message("assistant", reply), ALICE))
    again = [*conversation(texts), message("assistant", reply)]
    whole = asyncio.run(chat.encode([*again, message("user", more)], ALICE))
    assert whole[: len(known)] == known


@given(texts=TEXTS, begun=st.text(max_size=20))
def test_a_reply_that_is_continued_ends_where_its_text_does(
    chat: ChatPrompts, tokenizer: Tokenizer, texts: list[str], begun: str
) -> None:
    assert chat.template is not None
    messages = conversation(texts)[: len(texts) - 1 | 1]
    [opened] = chat.template.render(Conversation(messages))
    given_back = [*messages, message("assistant", begun)]
    ids = asyncio.run(chat.encode(given_back, ALICE, continues_last=True))
    assert list(ids) == asyncio.run(tokenizer.encode(opened + begun))


def test_a_template_that_trims_keeps_the_space_that_a_reply_follows(tokenizer: Tokenizer) -> None:
    source = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
    chat = ChatPrompts(tokenizer, ChatTemplate(source, {}))
    messages = [message("user", "hi"), message("assistant", "so ")]
    ids = asyncio.run(chat.encode(messages, ALICE, continues_last=True))
    assert tokenizer.decode(ids) == "user: hi\nassistant: so "


def test_a_session_may_read_a_reply_that_is_continued(chat: ChatPrompts, tokenizer: Tokenizer) -> None:
    messages = [message("user", "hi"), message("assistant", "so")]
    [delta] = chat.template.render_delta(Conversation(messages[:1])) if chat.template else [""]
    ids = asyncio.run(chat.encode(messages, ALICE, continues=True, continues_last=True))
    assert list(ids) == asyncio.run(tokenizer.encode(delta + "so"))


@pytest.mark.parametrize("role", ["user", "system"])
def test_only_a_message_of_the_assistant_is_continued(chat: ChatPrompts, role: str) -> None:
    with pytest.raises(BadRequest, match="assistant"):
        asyncio.run(chat.encode([message(role, "hi")], ALICE, continues_last=True))


@pytest.mark.parametrize("body", ["{{ m.content | length }}", "{{ m.content[:3] }}"])
def test_a_template_that_cuts_the_last_message_continues_none(tokenizer: Tokenizer, body: str) -> None:
    source = "{% for m in messages %}" + body + "{% endfor %}"
    chat = ChatPrompts(tokenizer, ChatTemplate(source, {}))
    messages = [message("user", "hi"), message("assistant", "so")]
    with pytest.raises(BadRequest, match="cannot be continued"):
        asyncio.run(chat.encode(messages, ALICE, continues_last=True))


def ids(*values: int) -> array[int]:
    return array("i", values)


NOTHING = ("", ids())


def test_what_one_partition_left_no_other_finds() -> None:
    prefixes = EncodedPrefixes()
    prefixes.put(ALICE, "secret", ids(1, 2))
    assert prefixes.longest(ALICE, "secret, and more") == ("secret", ids(1, 2))
    for other in (BOB, Partition("alice", "salt")):
        assert prefixes.longest(other, "secret, and more") == NOTHING


def test_a_conversation_that_went_on_is_kept_once_and_its_other_branches_stay() -> None:
    prefixes = EncodedPrefixes()
    for text in ("abc", "ab"):  # read out of turn
        prefixes.put(ALICE, text, ids(1))
    prefixes.put(ALICE, "abcd", ids(1, 2))
    prefixes.put(ALICE, "ax", ids(3))
    assert prefixes.longest(ALICE, "abcde") == ("abcd", ids(1, 2))
    assert prefixes.longest(ALICE, "axe") == ("ax", ids(3))
    assert prefixes.longest(ALICE, "abx") == NOTHING


def test_the_least_recently_used_conversation_goes_first() -> None:
    prefixes = EncodedPrefixes(max_chars=4000)
    for partition, name in ((ALICE, "a"), (ALICE, "b"), (BOB, "c")):
        prefixes.put(partition, name * 300, ids(1))
    prefixes.longest(ALICE, "a" * 300)
    prefixes.put(ALICE, "d" * 300, ids(1))
    places = ((ALICE, "a"), (ALICE, "b"), (BOB, "c"), (ALICE, "d"))
    assert [name for partition, name in places if prefixes.longest(partition, name * 300)[1]] == list("abd")
    prefixes.put(ALICE, "e" * 4001, ids(1))
    assert prefixes.longest(ALICE, "e" * 4001) == NOTHING


def test_short_conversations_with_a_salt_each_do_not_add_up() -> None:
    prefixes = EncodedPrefixes(max_chars=100_000)
    for number in range(1000):
        prefixes.put(Partition("alice", str(number)), "a", ids(1))
    kept = [number for number in range(1000) if prefixes.longest(Partition("alice", str(number)), "a")[0]]
    assert 50 <= len(kept) <= 100
    assert kept[-1] == 999


def test_name_of_an_author_reaches_the_template_as_plain_text(tokenizer: Tokenizer) -> None:
    source = "{% for m in messages %}{{ m.name or m.role }}: {{ m.content }}\n{% endfor %}"
    chat = ChatPrompts(tokenizer, ChatTemplate(source, {}))

    def ids(name: str | None) -> list[int]:
        return list(asyncio.run(chat.encode([message("user", "hi", name)], ALICE)))

    assert tokenizer.decode(ids("ann")) == "ann: hi\n"
    assert tokenizer.decode(ids(None)) == "user: hi\n"
    special = next(iter(tokenizer.special_ids))
    assert not set(ids(special)) & set(tokenizer.special_ids.values())


def test_more_names_of_control_tokens_than_ids_allowed_are_refused_before_they_are_replaced(
    chat: ChatPrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_prompt, "replaced", None)
    [name, *_] = chat._names
    with pytest.raises(BadRequest, match="more than 100 tokens"):
        asyncio.run(chat.encode([message("user", name * 101)], ALICE, limit=TokenLimit(100, "messages")))


def test_a_large_text_is_searched_off_the_event_loop(
    chat: ChatPrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[bool]] = {"_sealed": set(), "_parts": set()}

    def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*args: Any) -> Any:
            seen[name].add(threading.current_thread() is threading.main_thread())
            return call(*args)

        return note

    for name in seen:
        monkeypatch.setattr(chat, name, noting(name, getattr(chat, name)))
    asyncio.run(chat.encode([message("user", "a " * OFF_LOOP_CHARS)], ALICE))
    assert seen["_sealed"] == {False}
    assert False in seen["_parts"]
    seen["_sealed"].clear()
    asyncio.run(chat.encode([message("user", "a")], ALICE))
    assert seen["_sealed"] == {True}


@pytest.mark.parametrize("variables", [{"a": "<|us", "b": "er|>"}, {"a": "<|user|", "b": [">"]}])
def test_variables_forge_no_control_token(tokenizer: Tokenizer, variables: dict[str, Any]) -> None:
    assert "<|user|>" in tokenizer.control_ids
    source = "{{ a }}{{ b | join }}{% for m in messages %}{{ m.content }}{% endfor %}"
    chat = ChatPrompts(tokenizer, ChatTemplate(source, {}))
    with pytest.raises(BadRequest, match="control tokens"):
        asyncio.run(chat.encode([message("user", "hi")], ALICE, variables=variables))
    plain = asyncio.run(chat.encode([message("user", "hi")], ALICE, variables={"a": "<|user|>", "b": "x"}))
    assert tokenizer.decode(plain) == "<|user|>xhi"
    assert not tokenizer.control_sequence(plain)


def test_a_template_chooses_by_a_variable(tokenizer: Tokenizer) -> None:
    """Also where the choice changes the control tokens, and whatever was asked before."""
    source = "{% if effort == 'high' %}<|user|>{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    chat = ChatPrompts(tokenizer, ChatTemplate(source, {}))
    for effort, marks in (("high", ["<|user|>"]), ("low", []), ("high", ["<|user|>"]), ("a b", [])):
        ids = asyncio.run(chat.encode([message("user", "hi")], ALICE, variables={"effort": effort}))
        assert tokenizer.control_sequence(ids) == [tokenizer.control_ids[name] for name in marks]


@given(text=st.text(max_size=30), end=st.integers(0, 30), later=st.text(max_size=10))
def test_ids_before_a_mark_are_the_first_ids_whatever_follows(
    chat: ChatPrompts, text: str, end: int, later: str
) -> None:
    place = TextPlace(0, min(end, len(text)), 60.0)
    messages = [message("user", text), message("assistant", "so")]
    other = [message("user", text[: place.end] + later), message("assistant", "no")]
    ids = list(asyncio.run(chat.encode(messages, ALICE)))
    others = list(asyncio.run(chat.encode(other, ALICE)))
    for found in asyncio.run(chat.breakpoints(messages, [place], ALICE)):
        assert 0 < found.num_tokens <= len(ids)
        assert ids[: found.num_tokens] == others[: found.num_tokens]


@pytest.mark.parametrize(
    "body", ["{{ m.content | trim }}", "{{ m.content[:3] }}", "{{ m.content | upper }}", ""]
)
def test_a_mark_in_a_template_that_changes_texts_never_names_other_ids(
    tokenizer: Tokenizer, body: str
) -> None:
    source = "{% for m in messages %}<|user|>" + body + "{% endfor %}"
    chat = ChatPrompts(tokenizer, ChatTemplate(source, {}))
    messages = [message("user", " some words  ")]
    other = [message("user", " some words  and more")]
    ids, others = (list(asyncio.run(chat.encode(each, ALICE))) for each in (messages, other))
    for found in asyncio.run(chat.breakpoints(messages, [TextPlace(0, 13, 60.0)], ALICE)):
        assert ids[: found.num_tokens] == others[: found.num_tokens]
