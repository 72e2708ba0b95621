"""Masks of token ids: the ids that a reply may draw next, from its request, with a copy for each choice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from pararnn_core.sampling.mask_words import MaskWords
from pararnn_core.sampling.sampled import NothingAllowed
from pararnn_server.errors import Internal, ServerError

T = TypeVar("T")
Words = MaskWords | Exception | None
"""The mask of the next id, None for any id, or what kept a mask from being made."""

logger = logging.getLogger(__name__)


class TokenMask(Protocol):
    """The ids that may come next in a reply, for example those that a grammar allows.

    The engine's thread calls every method but `allowed_of`, and all requests wait for it. EOS is an id like
    any other: a reply can end with it only where the mask allows it. A ServerError that a method raises ends
    its own request; any other error is logged, and is a 500.
    """

    @property
    def is_complete(self) -> bool:
        """True if no further id may come: the reply ends without a draw."""

    @classmethod
    def allowed_of(cls, masks: Sequence[Any], /) -> Sequence[Words]:
        """Return for each mask of this class what may come next, as `mask_words` says.

        Called once before every draw, on a thread of its own, while the model runs. Words that allow nothing
        end the request with a 500.
        """

    def accept(self, token_id: int) -> None:
        """Move on by the id that was drawn, also by an EOS and by one that a stop string takes back."""

    def forced(self) -> Sequence[int]:
        """Move on by ids that alone may come now, and return them: a few of them at once.

        Empty: the next id is drawn, or the reply is complete.
        """

    def fork(self) -> TokenMask:
        """Return a copy that moves on by itself: each choice gets one, and the original stays as it is."""


class TokenMaskFailed(Internal):
    """A request's token mask raised an error, or allows nothing. The log says more."""


class ChoiceMask:
    """A choice's fork of its request's mask. An error that is no ServerError is logged and becomes one.

    is_complete: no further id may come.
    coming: masks that are being made, and the place of this one among them; None: not begun.
    """

    def __init__(self, mask: TokenMask, request_id: str) -> None:
        self._request_id = request_id
        self.mask = self._guarded(mask.fork)
        self.is_complete = False
        self.coming: tuple[Future[Sequence[Words]], int] | None = None

    def apply(self, slot: int, set_mask: Callable[[int, MaskWords | None], None]) -> None:
        """Hand the mask of the next id to the slot's row of the sampler. Waits for the mask's thread."""
        self._guarded(lambda: set_mask(slot, self._take_words()))

    def accept(self, token_id: int) -> None:
        """Move on by the id that was drawn."""
        self._guarded(lambda: self.mask.accept(token_id))

    def forced(self) -> Sequence[int]:
        """Move on by ids that alone may come now, and return them."""
        ids = self._guarded(self.mask.forced)
        # Asked for once here, since every token asks for it several times.
        self.is_complete = self._guarded(lambda: self.mask.is_complete)
        return ids

    def _take_words(self) -> MaskWords | None:
        coming, self.coming = self.coming, None
        if coming is None:
            [found] = type(self.mask).allowed_of([self.mask])
        else:
            job, place = coming
            found = job.result()[place]
        if isinstance(found, Exception):
            raise found
        return found

    def _guarded(self, call: Callable[[], T]) -> T:
        # A mask is foreign code: its errors end its own request, not the engine's thread.
        try:
            return call()
        except NothingAllowed as error:
            logger.exception("the token mask of request %s allows no token", self._request_id)
            raise TokenMaskFailed("the token mask of this request allows no token") from error
        except ServerError:
            raise
        except Exception as error:
            logger.exception("the token mask of request %s failed", self._request_id)
            raise TokenMaskFailed("the token mask of this request failed") from error
