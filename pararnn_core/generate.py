"""One reply at a time, without a server: the name that users import."""

from pararnn_core.models.generate import PREFILL_CHUNK_TOKENS, generate

__all__ = ["PREFILL_CHUNK_TOKENS", "generate"]
