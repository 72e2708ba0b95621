"""Generation of one reply at a time, without a server: the public import path."""

from pararnn_core.models.generate import PREFILL_CHUNK_TOKENS, generate

__all__ = ["PREFILL_CHUNK_TOKENS", "generate"]
