"""/tokenize, /detokenize and /tokenizer_info."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pararnn_server.http.schemas.base import (
    AtMostMaxMessages,
    Examples,
    RequestBody,
    ResponseBody,
    TokenIds,
)
from pararnn_server.http.schemas.chat import Message
from pararnn_server.http.schemas.first_fault import FirstFault
from pararnn_server.http.schemas.tools import Tools


class TokenizeRequest(RequestBody):
    """Either a prompt or messages, read as the generating routes read them.

    add_special_tokens: put the BOS first if the model's tokenizer does that (default true; prompt only).
    return_token_strs: also the text of each token. tools: with messages, those that the model is shown.
    """

    EXAMPLES: ClassVar[Examples] = {
        "text": {"prompt": "import os", "return_token_strs": True},
        "messages": {"messages": [{"role": "user", "content": "What does os.walk do?"}]},
    }

    model: Annotated[str, Field(max_length=256)] | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1), FirstFault(), AtMostMaxMessages] | None = None
    tools: Tools | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None


class TokenizeResponse(ResponseBody):
    """max_model_len is null: there is no context limit."""

    count: int
    max_model_len: None
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(RequestBody):
    """Ids to turn into text; special tokens have none."""

    EXAMPLES: ClassVar[Examples] = {"ids": {"tokens": [1, 2, 3]}}

    model: Annotated[str, Field(max_length=256)] | None = None
    tokens: TokenIds


class DetokenizeResponse(ResponseBody):
    """Bytes that are no text become U+FFFD."""

    prompt: str


class TokenizerInfo(ResponseBody):
    """Facts by which a client can read prompts as the server does."""

    tokenizer_class: str
    vocab_size: int
    add_bos_token: bool
    bos_token: str | None
    eos_token: str | None
    chat_template: str | None
    chat_into_session: bool
