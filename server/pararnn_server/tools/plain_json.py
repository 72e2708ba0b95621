"""A call that is the whole reply, as models of Llama 3 write it, and the same with the member of OpenAI's."""

from __future__ import annotations

from pararnn_server.tools.call_format import CallFormat

LLAMA_JSON = CallFormat(
    name="llama_json", mark="", head='{"name": "', middle='", "parameters": ', tail="}", separator=None
)
PLAIN_JSON = CallFormat(
    name="json", mark="", head='{"name": "', middle='", "arguments": ', tail="}", separator=None
)
