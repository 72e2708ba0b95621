"""Messages to prompt text, through the checkpoint's own template in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typing_extensions import NotRequired, TypedDict

from pararnn_server.errors import BadRequest


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
    """source: Jinja2 text. tokens: bos_token and eos_token as the template may use them.

    Raises TemplateError if the source is no template.
    goes_into_sessions: whether a later turn can be rendered without the earlier ones.
    """

    def __init__(self, source: str, tokens: dict[str, str | None]) -> None:
        self.source = source
        self._tokens = {name: token or "" for name, token in tokens.items()}
        self._template = _environment().from_string(source)
        self.goes_into_sessions = self._deltas_compose()

    def render(self, messages: Sequence[Message]) -> str:
        """The whole prompt, open for the assistant's reply. Raises BadRequest with the template's words."""
        try:
            return self._render(messages)
        except TemplateError as error:
            raise BadRequest(f"The chat template refused the messages: {error}", param="messages") from error

    def render_delta(self, messages: Sequence[Message]) -> str:
        """What follows an earlier reply: its end, the new messages, and the opening of the next reply.

        Raises BadRequest.
        """
        whole = self.render([_QUESTION, _ANSWER, *messages])
        earlier = self._render([_QUESTION]) + _ANSWER["content"]
        if not whole.startswith(earlier):
            message = "The chat template puts these messages first: they can only open a new session."
            raise BadRequest(message, param="messages")
        return whole[len(earlier) :]

    def _render(self, messages: Sequence[Message]) -> str:
        return self._template.render(messages=list(messages), add_generation_prompt=True, **self._tokens)

    def _deltas_compose(self) -> bool:
        """Two turns rendered one by one, over a dummy exchange, must be the conversation rendered whole."""
        first: Message = {"role": "user", "content": "one"}
        replies = [Message(role="assistant", content=text) for text in ("two", "four")]
        later = [Message(role="user", content=text) for text in ("three", "five")]
        whole = [first, replies[0], later[0], replies[1], later[1]]
        try:
            parts = [self._render([first])]
            for reply, question in zip(replies, later, strict=True):
                parts += [reply["content"], self.render_delta([question])]
            return "".join(parts) == self._render(whole)
        except (TemplateError, BadRequest):
            return False


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = _raise
    environment.filters["tojson"] = _to_json
    return environment


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
