"""Masks of token ids: the ids that a reply may draw next, from its request, with a copy for each choice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from pararnn_core.sampling.mask_words import MaskWords
from pararnn_core.sampling.sampled import NothingAllowed
from pararnn_server.errors import Internal

T = TypeVar("T")

logger = logging.getLogger(__name__)


class TokenMask(Protocol):
    """The ids that may come next in a reply, for example those that a grammar allows.

    The engine's thread calls every method, and all requests wait for it. EOS is an id like any other: a reply
    can end with it only where the mask allows it. One that raises ends its own request with a 500.
    """

    def allowed(self) -> MaskWords | None:
        """Return the mask of the next id, as `mask_words` says; None: any id.

        Called before every draw. The words are copied, so that one array may serve all calls. Words that
        allow nothing end the request with a 500.
        """

    def accept(self, token_id: int) -> None:
        """Move on by the id that was drawn, also by an EOS and by one that a stop string takes back."""

    def fork(self) -> TokenMask:
        """Return a copy that moves on by itself: each choice gets one, and the original stays as it is."""


class TokenMaskFailed(Internal):
    """A request's token mask raised an error, or allows nothing. The log says more."""


class ChoiceMask:
    """A choice's fork of its request's mask. An error of the mask is logged and becomes TokenMaskFailed."""

    def __init__(self, mask: TokenMask, request_id: str) -> None:
        self._request_id = request_id
        self._mask = self._guarded(mask.fork)

    def apply(self, slot: int, set_mask: Callable[[int, MaskWords | None], None]) -> None:
        """Hand the mask of the next id to the slot's row of the sampler."""
        self._guarded(lambda: set_mask(slot, self._mask.allowed()))

    def accept(self, token_id: int) -> None:
        """Move on by the id that was drawn."""
        self._guarded(lambda: self._mask.accept(token_id))

    def _guarded(self, call: Callable[[], T]) -> T:
        # A mask is foreign code: its errors end its own request, not the engine's thread.
        try:
            return call()
        except NothingAllowed as error:
            logger.exception("the token mask of request %s allows no token", self._request_id)
            raise TokenMaskFailed("the token mask of this request allows no token") from error
        except Exception as error:
            logger.exception("the token mask of request %s failed", self._request_id)
            raise TokenMaskFailed("the token mask of this request failed") from error
