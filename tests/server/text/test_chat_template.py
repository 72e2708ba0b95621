import pytest
from pararnn_server.errors import BadRequest
from pararnn_server.text.chat_template import ChatTemplate
from pararnn_server.text.conversation import Conversation, Message
from pararnn_server.text.template_renderer import TemplateBroken, TemplateRenderer

from tests.fixtures import CHAT_TEMPLATE

RENDERER = TemplateRenderer()
TOKENS = {"bos_token": "<B>", "eos_token": "<E>"}
TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<E>{% endfor %}"
OPEN = "{% if add_generation_prompt %}[assistant]{% endif %}"


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def test_delta_follows_a_reply_as_in_the_whole_conversation() -> None:
    template = ChatTemplate("{{ bos_token }}" + TURNS + OPEN, TOKENS, RENDERER)
    conversation = [user("a"), assistant("b"), user("c")]
    assert template.render(Conversation(conversation[:1])) == ["<B>[user]a<E>[assistant]"]
    assert template.render_delta(Conversation(conversation[2:])) == ["<E>[user]c<E>[assistant]"]
    [first], [later] = (
        template.render(Conversation(conversation[:1])),
        template.render_delta(Conversation(conversation[2:])),
    )
    assert template.render(Conversation(conversation)) == [f"{first}b{later}"]


@pytest.mark.parametrize("source", ["{{ bos_token }}" + TURNS + OPEN, CHAT_TEMPLATE, TURNS + "[assistant]"])
def test_template_that_only_appends_goes_into_sessions(source: str) -> None:
    assert ChatTemplate(source, TOKENS, RENDERER).goes_into_sessions


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | length }}" + TURNS + OPEN,
        TURNS.replace("m.content", "(m.content if loop.last else '...')") + OPEN,
        TURNS.replace("m.content", "(m.content if m.role == 'user' else '')") + OPEN,
        TURNS + OPEN + "{{ messages[0].content }}",
        "{% if messages | length > 1 %}{{ raise_exception('one message only') }}{% endif %}" + TURNS + OPEN,
    ],
)
def test_template_that_looks_back_does_not(source: str) -> None:
    assert not ChatTemplate(source, TOKENS, RENDERER).goes_into_sessions


def test_words_of_the_template_reach_the_client() -> None:
    template = ChatTemplate("{{ raise_exception('no system message, please') }}", TOKENS, RENDERER)
    with pytest.raises(BadRequest, match="no system message, please") as refused:
        template.render(Conversation([user("a")]))
    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% set _ = messages.append(1) %}",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
def test_template_cannot_leave_its_sandbox(source: str) -> None:
    with pytest.raises(BadRequest):
        ChatTemplate(source, TOKENS, RENDERER).render(Conversation([user("a")]))


def test_broken_template_is_refused_at_once() -> None:
    with pytest.raises(TemplateBroken):
        ChatTemplate("{% for %}", TOKENS, RENDERER)


def test_missing_tokens_are_empty_text() -> None:
    template = ChatTemplate("{{ bos_token }}|{{ eos_token }}", {"eos_token": "e"}, RENDERER)
    assert template.render(Conversation([])) == ["|e"]


def test_messages_that_the_template_moves_to_the_front_are_refused_in_a_session() -> None:
    front = "{% for m in messages if m.role == 'system' %}[system]{{ m.content }}<E>{% endfor %}"
    others = TURNS.replace("in messages", "in messages if m.role != 'system'")
    template = ChatTemplate(front + others + OPEN, TOKENS, RENDERER)
    assert template.goes_into_sessions
    assert template.render_delta(Conversation([user("c")])) == ["<E>[user]c<E>[assistant]"]
    with pytest.raises(BadRequest) as refused:
        template.render_delta(Conversation([{"role": "system", "content": "s"}, user("c")]))
    assert refused.value.param == "messages"
