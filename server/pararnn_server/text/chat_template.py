"""Messages to prompt text, through the checkpoint's own template."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import NotRequired, TypedDict

from pararnn_server.errors import BadRequest
from pararnn_server.text.template_renderer import (
    TemplateBroken,
    TemplateFailed,
    TemplateRenderer,
    TemplateTooLarge,
)

logger = logging.getLogger(__name__)


class Message(TypedDict):
    """role: system, user or assistant. name: its author, where the client gave one."""

    role: str
    content: str
    name: NotRequired[str]


def message(role: str, content: str, name: str | None = None) -> Message:
    """Turn a developer into the system: templates do not know the role."""
    known: Message = {"role": "system" if role == "developer" else role, "content": content}
    if name is not None:
        known["name"] = name
    return known


_QUESTION: Message = {"role": "user", "content": "question"}
_ANSWER: Message = {"role": "assistant", "content": "answer"}


class ChatTemplate:
    """source: Jinja2 text. tokens: bos_token and the like, as the template may use them.

    Rendering waits for another process: call it from a thread that may wait.
    Raises TemplateBroken if the source is no template, TemplateTooLarge if a short chat takes too much.
    goes_into_sessions: whether a later turn can be rendered without the earlier ones.
    structure: a short conversation of all roles, without an opening for a reply.
    """

    def __init__(
        self, source: str, tokens: Mapping[str, str], renderer: TemplateRenderer | None = None
    ) -> None:
        self.source = source
        self.renderer = renderer or TemplateRenderer()
        self._tokens = dict(tokens)
        self._check()
        self.goes_into_sessions = self._deltas_compose()
        self.structure = self._structure()

    def render(self, *conversations: Sequence[Message], opens: bool = True) -> list[str]:
        """Return whole prompts. opens: for a reply. Raises BadRequest with the template's words."""
        return self._asked([self._variables(messages, opens) for messages in conversations])

    def render_delta(self, *conversations: Sequence[Message], opens: bool = True) -> list[str]:
        """Return the text after an earlier reply: its end, the new messages, the opening of the next reply.

        Raises BadRequest.
        """
        # The difference between the two renderings is what the template writes after a reply.
        wanted = [[_QUESTION, _ANSWER, *messages] for messages in conversations]
        earlier, *wholes = self._asked(
            [self._variables([_QUESTION]), *(self._variables(messages, opens) for messages in wanted)]
        )
        earlier += _ANSWER["content"]
        # A system message in the middle, say, which the template moves to the start.
        if not all(whole.startswith(earlier) for whole in wholes):
            message = "The chat template puts these messages first: they can only open a new session."
            raise BadRequest(message, param="messages")
        return [whole[len(earlier) :] for whole in wholes]

    def _asked(self, variables: Sequence[Mapping[str, Any]]) -> list[str]:
        try:
            return self.renderer.render(self.source, variables)
        except TemplateFailed as error:
            raise BadRequest(f"The chat template refused the messages: {error}", param="messages") from error

    def _variables(self, messages: Sequence[Message], opens: bool = True) -> dict[str, Any]:
        """The variables are those of transformers: tools and documents are None where there are none."""
        common = {"tools": None, "documents": None, "add_generation_prompt": opens}
        return {"messages": list(messages)} | common | self._tokens

    def _check(self) -> None:
        try:
            self.renderer.render(self.source, [self._variables([_QUESTION])])
        except (TemplateBroken, TemplateTooLarge):
            raise
        except TemplateFailed as error:
            # It may only take other messages, such as a system message first.
            logger.warning("the chat template refuses a lone question: %s", error)

    def _deltas_compose(self) -> bool:
        """Two turns rendered one by one, over a dummy exchange, must be the conversation rendered whole."""
        first: Message = {"role": "user", "content": "one"}
        replies = [Message(role="assistant", content=text) for text in ("two", "four")]
        later = [Message(role="user", content=text) for text in ("three", "five")]
        whole = [first, replies[0], later[0], replies[1], later[1]]
        try:
            opening, expected = self.render([first], whole)
            deltas = self.render_delta(*([question] for question in later))
        except BadRequest:
            return False
        turns = zip(replies, deltas, strict=True)
        return opening + "".join(reply["content"] + delta for reply, delta in turns) == expected

    def _structure(self) -> str:
        """Some templates know no system."""
        for first in ([Message(role="system", content="be brief")], []):
            try:
                conversation = [*first, _QUESTION, _ANSWER, _QUESTION]
                [text] = self.renderer.render(self.source, [self._variables(conversation, opens=False)])
            except TemplateFailed:
                continue
            return text
        return ""
