"""Checks of requests before the engine takes them, and limits of how many it takes."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import torch

from pararnn_core.sampling_params import InvalidSamplingParams
from pararnn_server.access.shares import Shares
from pararnn_server.engine.request import Request
from pararnn_server.errors import BadRequest, TooManyRequests
from pararnn_server.state_cache.prefix_tree import ID_BYTES, id_array
from pararnn_server.text.vocabulary import Vocabulary

# Ids of a prompt: as they came, to be fed, and as the state cache reads them.
ID_COPIES = 3


class Admission:
    """Counts the choices of requests that have not ended. Any thread may call it.

    max_choices: slots and places in the queue.
    max_bytes: of the token ids of their prompts, and of the states that came with them.
    num_owners: keys that share both.
    """

    def __init__(self, max_choices: int, num_owners: int = 1, max_bytes: int = 64 << 20) -> None:
        self._shares = Shares(max_choices, num_owners)
        self._bytes = Shares(max_bytes, num_owners)
        self._held: dict[str, tuple[str, int, int]] = {}
        # The event loop reserves, the engine's thread releases.
        self._lock = Lock()

    @property
    def max_choices(self) -> int:
        """Choices that one key may have at once."""
        return self._shares.most

    def reserve(self, request: Request) -> None:
        """Count the choices and bytes of a request.

        Raises TooManyRequests when slots, queue or its bytes are taken; BadRequest for a prompt that is too
        long for an empty queue; ValueError for the id of a request that has not ended.
        """
        with self._lock:
            if request.request_id in self._held:
                raise ValueError(f"request {request.request_id!r} has not ended")
            key = request.owner
            if request.num_choices > self._shares.room(key):
                raise TooManyRequests("too many requests are waiting; try again later", code="queue_full")
            nbytes = ID_COPIES * ID_BYTES * len(request.prompt_token_ids) + _start_bytes(request)
            self._check_bytes(key, nbytes)
            self._held[request.request_id] = key, request.num_choices, nbytes
            self._shares.take(key, request.num_choices)
            self._bytes.take(key, nbytes)

    def release(self, request_id: str) -> None:
        """Give back what a request that has ended took."""
        with self._lock:
            if (entry := self._held.pop(request_id, None)) is not None:
                key, num_choices, nbytes = entry
                self._shares.give(key, num_choices)
                self._bytes.give(key, nbytes)

    def _check_bytes(self, key: str, nbytes: int) -> None:
        most = self._bytes.most
        if nbytes > most:
            message = (
                f"prompt: its ids, and the state that it follows, take {nbytes} bytes;"
                f" one key may queue {most} (max_queue_bytes)."
            )
            raise BadRequest(message, param="prompt")
        if nbytes > self._bytes.room(key):
            message = (
                f"the token ids and states of prompts that wait or run would take more than {most} bytes"
                " (max_queue_bytes); try again later, or send shorter prompts"
            )
            raise TooManyRequests(message, code="queue_full")


def check_request(request: Request, vocabulary: Vocabulary, max_slots: int) -> None:
    """Raise BadRequest, naming the field, for a request that the engine can never run.

    max_slots: slots that one key may hold.
    """
    if not 1 <= request.num_choices <= max_slots:
        raise BadRequest(f"n must be between 1 and {max_slots}, the slots of one key", param="n")
    vocab_size, ids = len(vocabulary.token_bytes), request.prompt_token_ids
    if len(ids) and not _all_below(vocab_size, ids):
        wrong = next(token_id for token_id in ids if not 0 <= token_id < vocab_size)
        raise BadRequest(f"token id {wrong} is not in the vocabulary of {vocab_size}", param="prompt")
    try:
        request.params.check_vocabulary(vocab_size)
    except InvalidSamplingParams as error:
        raise BadRequest(str(error), param=error.param) from error
    if request.embeds and (request.params.max_tokens or request.session_id is not None):
        raise BadRequest("an embedding has no reply and no session", param="input")
    if request.returns_state or request.session_id is not None:
        _check_session_request(request, vocabulary)
    if not len(ids) and request.start is None and request.session_id is None:
        raise BadRequest("the prompt is empty", param="prompt")


def _start_bytes(request: Request) -> int:
    """Return the memory of a state that came with the request. That of a session is counted elsewhere."""
    return 0 if request.start is None else request.start.snapshot.buffer.nbytes


def _all_below(vocab_size: int, ids: Sequence[int]) -> bool:
    """Return True if all ids, of which there is one at least, are in the vocabulary."""
    # A conversation of 200 turns is read with each: Python would take a millisecond.
    try:
        lowest, highest = torch.frombuffer(id_array(ids), dtype=torch.int32).aminmax()
    # An id beyond 32 bits is in no vocabulary.
    except OverflowError:
        return False
    return int(lowest) >= 0 and int(highest) < vocab_size


def _check_session_request(request: Request, vocabulary: Vocabulary) -> None:
    if request.num_choices != 1:
        raise BadRequest("n must be 1 with a session: it continues from one reply only", param="n")
    if request.params.prompt_logprobs is not None:
        raise BadRequest("log-probabilities of the prompt cannot be had with a session", param="echo")
    if request.params.stop and not vocabulary.byte_ids:
        raise BadRequest("stop cannot be used with a session: the tokenizer lacks single bytes", param="stop")
