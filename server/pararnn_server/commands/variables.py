"""Names of all environment variables that the program reads."""

from __future__ import annotations

from pararnn_server.settings.environment import variable
from pararnn_server.settings.server_settings import Settings

# Options of commands that are not imported until they are called. A test compares them with the commands.
_OPTIONS = (
    "allow_pickle",
    "api_key",
    "bits",
    "calibrate",
    "cell",
    "chat_template",
    "decode_batch",
    "evaluate",
    "float",
    "group_size",
    "json",
    "key_map",
    "max_tokens",
    "measure",
    "min_p",
    "prompt",
    "random",
    "raw",
    "repetition_penalty",
    "repetitions",
    "seed",
    "set",
    "system",
    "temperature",
    "time_limit",
    "tokenizer",
    "tokens",
    "top_k",
    "top_p",
    "url",
    "verify",
    "weights",
)
# Read by the native library and by its loader.
_NATIVE = ("isa", "library")

VARIABLES = frozenset(variable(name) for name in (*Settings.model_fields, *_OPTIONS, *_NATIVE))
