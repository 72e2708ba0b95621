"""Ids of calls: not to be guessed, and the same when an answer is given again."""

from __future__ import annotations

import hashlib

from pararnn_server.tools.call_format import CallFormat


def call_id(answer_id: str, choice: int, number: int, form: CallFormat) -> str:
    """Return the id of a call of an answer, whose own id is random."""
    digest = hashlib.blake2b(f"{answer_id}/{choice}/{number}".encode(), digest_size=12).hexdigest()
    return digest[: form.id_length] if form.id_length else f"call_{digest}"
