"""Calls of /v1/messages, for its tests."""

from __future__ import annotations

import json
import re
from typing import Any

from pararnn_server.http.messages_to_chat import chat_messages
from pararnn_server.http.schemas.messages import (
    MessageRequest,
)

from tests.server.http_server import HttpServer

MESSAGES, COUNT, CHAT = "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions"
BASE: dict[str, Any] = {"max_tokens": 16, "seed": 11}
X, Y = (str(ord(letter) - 33) for letter in "xy")


def user(content: Any = "the x") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def ask(server: HttpServer, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return server.answer(MESSAGES, {"messages": list(messages) or [user()], **BASE, **fields})


def events(server: HttpServer, *messages: dict[str, Any], **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event of a stream."""
    body = {"messages": list(messages) or [user()], "stream": True, **BASE, **fields}
    answer = server.post(MESSAGES, body)
    assert answer.status_code == 200, answer.text
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", answer.text)
    assert "".join(f"event: {name}\ndata: {data}\n\n" for name, data in found) == answer.text
    return [(name, json.loads(data)) for name, data in found]


def text_of(answer: dict[str, Any]) -> str:
    return "".join(block["text"] for block in answer["content"])


def tokens(usage: dict[str, int]) -> tuple[int, int]:
    """Tokens of the prompt, cached or not, and of the reply."""
    return sum(count for name, count in usage.items() if "input" in name), usage["output_tokens"]


def messages_as_read(server: HttpServer, *messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    body = MessageRequest.model_validate({"messages": list(messages), "max_tokens": 1, **fields})
    return [dict(each) for each in chat_messages(body)]
