"""Prompts of a request: a text, token ids, or a list of either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pararnn_server.errors import BadRequest
from pararnn_server.http.request_context import RequestContext
from pararnn_server.http.schemas.base import Prompt, kind_of
from pararnn_server.text.prompts import EncodedPrompt


async def read_prompts(
    context: RequestContext, given: Prompt | None, param: str, num_choices: int = 1
) -> list[EncodedPrompt]:
    """Encode every prompt. Only a session that holds something can be continued with an empty one.

    param: the field that has them. Raises BadRequest.
    """
    entries = _entries(given)
    max_prompts, room = context.settings.max_prompts, context.model.engine.max_choices
    if len(entries) > max_prompts:
        raise BadRequest(f"{param}: at most {max_prompts} prompts.", param=param)
    # Refused at once: a request that never fits would wait in the queue for ever.
    if (replies := len(entries) * num_choices) > room:
        message = f"{param}: {replies} replies in all; this server holds at most {room} at once."
        raise BadRequest(message, param=param)
    reader, view = context.model.prompts, context.session
    encoded: list[EncodedPrompt] = []
    for entry in entries:
        if not entry and view.is_empty:
            raise BadRequest(f"{param}: it is empty; send at least one token.", param=param)
        if isinstance(entry, str):
            encoded.append(await reader.text(entry, param=param, bos=view.is_empty))
        else:
            encoded.append(reader.ids(entry, param=param))
    return encoded


def _entries(given: Prompt | None) -> Sequence[str | Sequence[int]]:
    if kind_of(given) in ("|texts", "|id_lists"):
        return cast("list[str] | list[Sequence[int]]", given)
    return [cast("str | Sequence[int]", given) or ""]
