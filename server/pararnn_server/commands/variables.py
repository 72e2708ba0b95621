"""Names of all environment variables that the program reads."""

from __future__ import annotations

from pararnn_server.settings.environment import variable
from pararnn_server.settings.server_settings import Settings

# Options of commands that are not imported until they are called. A test compares them with the commands.
_OPTIONS = (
    "accumulate",
    "allow_pickle",
    "api_key",
    "batch",
    "batch_size",
    "bits",
    "calibrate",
    "cell",
    "chat_template",
    "compile",
    "data",
    "decode_batch",
    "encoding",
    "epochs",
    "evaluate",
    "float",
    "group_size",
    "held_out",
    "json",
    "key_map",
    "learning_rate",
    "max_length",
    "max_tokens",
    "measure",
    "min_p",
    "minutes",
    "muon",
    "once",
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
    "sequence_length",
    "set",
    "size",
    "sort",
    "steps",
    "system",
    "temperature",
    "text",
    "time_limit",
    "tokenizer",
    "tokens",
    "top_k",
    "top_p",
    "url",
    "verify",
    "vocab_size",
    "weights",
)
# Read by the native library and by its loader.
_NATIVE = ("isa", "library")

VARIABLES = frozenset(variable(name) for name in (*Settings.model_fields, *_OPTIONS, *_NATIVE))
