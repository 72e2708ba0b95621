"""Names of all environment variables that the program reads."""

from __future__ import annotations

from pararnn_server.settings.environment import variable
from pararnn_server.settings.server_settings import Settings

# Options of commands that are not imported until they are called. A test compares them with the commands.
_OPTIONS = (
    "allow_pickle",
    "api_key",
    "batch",
    "bits",
    "calibrate",
    "cell",
    "chat_template",
    "data",
    "decode_batch",
    "epochs",
    "evaluate",
    "float",
    "group_size",
    "held_out",
    "json",
    "key_map",
    "max_length",
    "max_tokens",
    "measure",
    "min_p",
    "out",
    "patience",
    "prompt",
    "random",
    "rate",
    "raw",
    "repetition_penalty",
    "repetitions",
    "resume",
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
