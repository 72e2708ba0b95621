"""Messages to prompt text, through the checkpoint's own template."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from pararnn_server.errors import BadRequest
from pararnn_server.text.conversation import Conversation, Message
from pararnn_server.text.template_renderer import (
    TemplateBroken,
    TemplateFailed,
    TemplateRenderer,
    TemplateTooLarge,
)
from pararnn_server.text.template_tools import TemplateTools, probed
from pararnn_server.tools.tool import Tool

logger = logging.getLogger(__name__)


_OWN_VARIABLES = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"}
)
_ANSWER_TEXT = "answer"
_QUESTION: Message = {"role": "user", "content": "question"}
_ANSWER: Message = {"role": "assistant", "content": _ANSWER_TEXT}


class ChatTemplate:
    """source: Jinja2 text. tokens: bos_token and the like, as the template may use them.

    tool_source: renders conversations with tools; None: `source` does.
    Rendering waits for another process: call it from a thread that may wait.
    Raises TemplateBroken if the source is no template, TemplateTooLarge if a short chat takes too much.
    goes_into_sessions: whether a later turn can be rendered without the earlier ones.
    structure: a short conversation of all roles, without an opening for a reply.
    tools: its abilities with tools.
    reserved: names of variables that a request cannot set.
    """

    def __init__(
        self,
        source: str,
        tokens: Mapping[str, str],
        renderer: TemplateRenderer | None = None,
        tool_source: str | None = None,
    ) -> None:
        self.source = source
        self.renderer = renderer or TemplateRenderer()
        self._tokens = dict(tokens)
        self.reserved: AbstractSet[str] = _OWN_VARIABLES | tokens.keys()
        self._tool_source = tool_source or source
        self._without_tools = self.tools = TemplateTools()
        self._check()
        self._without_tools = self._probed(source)
        self.tools = self._probed(tool_source) if tool_source else self._without_tools
        self.goes_into_sessions = self._deltas_compose()
        self.structure = self._structure()

    def check_is_shown(self, conversation: Conversation) -> None:
        """Raise BadRequest for what the template would drop without a word."""
        can = self._abilities(conversation)
        if conversation.tools and not can.shows_tools:
            raise BadRequest(
                "tools: this model's chat template does not show tools: leave them out, or set tool_choice to"
                " 'none'.",
                param="tools",
            )
        if "documents" in conversation.variables and not re.search(r"\bdocuments\b", self.source):
            message = "documents: this model's chat template reads none: put them into a message."
            raise BadRequest(message, param="documents")
        for number, each in enumerate(conversation.messages):
            if "tool_calls" in each and not can.shows_calls:
                message = "This model's chat template does not show calls of tools: leave them out."
                raise BadRequest(message, param=f"messages.{number}.tool_calls")
            if each["role"] == "tool" and not can.shows_results:
                message = "This model's chat template does not show results of tools: leave them out."
                raise BadRequest(message, param=f"messages.{number}.role")

    def render(self, *conversations: Conversation, opens: bool = True) -> list[str]:
        """Return whole prompts. opens: for a reply. Raises BadRequest with the template's words.

        Either all conversations have tools or none.
        """
        return self._asked([self._variables(each, opens) for each in conversations], conversations)

    def _asked(
        self, variables: Sequence[Mapping[str, Any]], conversations: Sequence[Conversation]
    ) -> list[str]:
        source = self._tool_source if any(each.tools for each in conversations) else self.source
        try:
            return self.renderer.render(source, variables)
        except TemplateFailed as error:
            raise BadRequest(f"The chat template refused the messages: {error}", param="messages") from error

    def render_delta(self, *conversations: Conversation, opens: bool = True) -> list[str]:
        """Return the text after an earlier reply: its end, the new messages, the opening of the next reply.

        Raises BadRequest.
        """
        # The difference between the two renderings is what the template writes after a reply.
        questions = [replace(each, messages=[_QUESTION]) for each in conversations]
        wanted = [replace(each, messages=[_QUESTION, _ANSWER, *each.messages]) for each in conversations]
        variables = [self._variables(each) for each in questions]
        rendered = self._asked(
            [*variables, *(self._variables(each, opens) for each in wanted)], conversations
        )
        count = len(conversations)
        earlier = [text + _ANSWER_TEXT for text in rendered[:count]]
        pairs = list(zip(earlier, rendered[count:], strict=True))
        # A system message in the middle, say, which the template moves to the start.
        if not all(whole.startswith(start) for start, whole in pairs):
            message = "The chat template puts these messages first: they can only open a new session."
            raise BadRequest(message, param="messages")
        return [whole[len(start) :] for start, whole in pairs]

    def _abilities(self, conversation: Conversation) -> TemplateTools:
        return self.tools if conversation.tools else self._without_tools

    def _variables(self, conversation: Conversation, opens: bool = True) -> dict[str, Any]:
        given = self._abilities(conversation).given
        return {
            **self._common(conversation.tools, opens),
            **conversation.variables,
            "messages": [given(each) for each in conversation.messages],
        }

    def _common(self, tools: Sequence[Tool], opens: bool) -> dict[str, Any]:
        """The variables are those of transformers: tools and documents are None where there are none."""
        shown = [tool.for_template() for tool in tools] or None
        return {"tools": shown, "documents": None, "add_generation_prompt": opens} | self._tokens

    def _probed(self, source: str) -> TemplateTools:
        def render(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> str:
            variables = self._common(tools, opens=False) | {"messages": list(messages)}
            [text] = self.renderer.render(source, [variables])
            return text

        return probed(source, render)

    def _check(self) -> None:
        try:
            self.renderer.render(self.source, [self._variables(Conversation([_QUESTION]))])
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
            opening, expected = self.render(Conversation([first]), Conversation(whole))
            deltas = self.render_delta(*(Conversation([question]) for question in later))
        except BadRequest:
            return False
        turns = zip(replies, deltas, strict=True)
        return opening + "".join(f"{reply['content']}{delta}" for reply, delta in turns) == expected

    def _structure(self) -> str:
        """Some templates know no system."""
        for first in ([Message(role="system", content="be brief")], []):
            try:
                conversation = Conversation([*first, _QUESTION, _ANSWER, _QUESTION])
                [text] = self.renderer.render(self.source, [self._variables(conversation, opens=False)])
            except TemplateFailed:
                continue
            return text
        return ""
