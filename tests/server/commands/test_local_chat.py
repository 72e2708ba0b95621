from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import torch
from pararnn_server.commands.failure import CommandFailed
from pararnn_server.commands.local_chat import LocalConversation
from pararnn_server.commands.sampling_options import ChatSampling
from pararnn_server.models.loading import Loaded
from pararnn_server.models.startup import read_chat_template
from pararnn_server.text.chat_prompt import ChatPrompts
from pararnn_server.text.conversation import Conversation, message

from pararnn_core.generate import generate
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import RecurrentState

Talk = Callable[..., LocalConversation]


@pytest.fixture
def talk(loaded: Loaded) -> Talk:
    def build(*, raw: bool = True, max_tokens: int = 8, **over: object) -> LocalConversation:
        sampling = ChatSampling(max_tokens, 1.0, 1.0, 0, 0.0, 1.0, seed=5)
        chat = None if raw else ChatPrompts(loaded.tokenizer, read_chat_template(loaded))
        return LocalConversation(loaded.model, loaded.tokenizer, sampling, chat=chat, **over)  # type: ignore[arg-type]  # passed through

    return build


def _ids(loaded: Loaded, text: str) -> list[int]:
    return asyncio.run(loaded.tokenizer.encode(text))


def _state_after(loaded: Loaded, tokens: list[int]) -> RecurrentState:
    state = loaded.model.new_state(1)
    list(generate(loaded.model, tokens, SamplingParams(max_tokens=0), state))
    return state


def _generated(loaded: Loaded, prompt: list[int], count: int) -> list[int]:
    return list(generate(loaded.model, prompt, SamplingParams(max_tokens=count, seed=5)))


def test_a_second_reply_goes_on_from_every_token_of_the_first(loaded: Loaded, talk: Talk) -> None:
    conversation = talk()
    list(conversation.reply("ab"))
    second = "".join(conversation.reply("cd"))
    history = [*_ids(loaded, "ab"), *_generated(loaded, _ids(loaded, "ab"), 8), *_ids(loaded, "cd")]
    assert second == loaded.tokenizer.decode(_generated(loaded, history, 8))
    assert conversation.facts().num_tokens == len(history) + 8


def test_an_empty_message_goes_on_where_the_reply_ended(loaded: Loaded, talk: Talk) -> None:
    whole = list(talk(max_tokens=2).reply("ab"))
    conversation = talk(max_tokens=1)
    halves = [*conversation.reply("ab"), *conversation.reply("")]
    assert len(halves) <= len(whole) + 1
    assert conversation.facts().num_tokens == len(_ids(loaded, "ab")) + 2


def test_a_stopped_reply_is_part_of_the_session(loaded: Loaded, talk: Talk) -> None:
    conversation = talk(max_tokens=1000)
    pieces = conversation.reply("ab")
    next(pieces)
    conversation.stop()
    list(pieces)
    kept = conversation.completion_tokens
    assert kept < 1000
    assert conversation.facts().num_tokens == len(_ids(loaded, "ab")) + kept


def test_a_reply_broken_off_leaves_the_session_as_it_was(loaded: Loaded, talk: Talk) -> None:
    conversation = talk()
    list(conversation.reply("ab"))
    before = conversation.facts()
    broken = conversation.reply("cd")
    next(broken)
    broken.close()
    assert conversation.facts() == before
    untouched = talk()
    list(untouched.reply("ab"))
    assert list(conversation.reply("ef")) == list(untouched.reply("ef"))


def test_reset_forgets_everything(talk: Talk) -> None:
    conversation = talk()
    first = list(conversation.reply("ab"))
    conversation.reset()
    assert conversation.facts().num_tokens == 0
    assert list(conversation.reply("ab")) == first


def test_chat_turns_are_rendered_as_the_template_renders_the_whole(loaded: Loaded, talk: Talk) -> None:
    conversation = talk(raw=False, system="be brief", max_tokens=4)
    template = read_chat_template(loaded)
    assert template is not None
    list(conversation.reply("one"))
    [opening] = template.render(Conversation([message("system", "be brief"), message("user", "one")]))
    prompt = _ids(loaded, opening)
    expected = _state_after(loaded, [*prompt, *_generated(loaded, prompt, 4)[:3]])
    assert torch.equal(conversation._state["cell"], expected["cell"])


def test_nothing_at_all_is_no_message(talk: Talk) -> None:
    with pytest.raises(CommandFailed, match="type something"):
        list(talk().reply(""))
