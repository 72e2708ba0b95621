"""A request in the engine thread, from submit to its last output."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from pararnn_core.sampling.banned_sequences import BannedSequences
from pararnn_core.sampling.mask_words import MaskWords
from pararnn_core.sampling.min_tokens import MinTokens, ending_ids
from pararnn_core.sampling.repeat_window import RepeatWindow
from pararnn_core.sampling.sampler import Sampled
from pararnn_core.sampling_params import SamplingParams
from pararnn_server.engine.embedding import EmbeddingSum, Float32s
from pararnn_server.engine.forced_ids import ForcedIds
from pararnn_server.engine.reply import Reply, Shown
from pararnn_server.engine.request import FinishReason, Request, Tokens, TokenUsage
from pararnn_server.engine.stop_rollback import StopRollback
from pararnn_server.engine.token_mask import ChoiceMask
from pararnn_server.sessions.turn import Turn
from pararnn_server.state_cache.prefix_tree import id_array
from pararnn_server.state_cache.state_cache import Partition
from pararnn_server.text.vocabulary import Vocabulary


class ReplyEnd(NamedTuple):
    """Cause of a choice's end; stop_reason as in Finished."""

    finish_reason: FinishReason
    stop_reason: str | int | None = None


class Choice:
    """One reply of a request, in a slot of its own.

    num_sampled: ids sampled, an EOS included; all but the last of them were fed.
    mask: restricts the ids that may be drawn; None: all may. forced: the next ids, where it leaves no choice.
    sampler_index: the place of the next id, as the sampler counts; -1: it does not know the reply.
    min_tokens: keeps the first ids from ending the reply; None: nothing to keep.
    window: the last ids of prompt and reply, where repetition_penalty counts only those.
    banned: sequences of ids that the reply must not hold.
    """

    def __init__(
        self,
        index: int,
        slot: int,
        params: SamplingParams,
        vocabulary: Vocabulary,
        rollback: StopRollback | None,
        mask: ChoiceMask | None = None,
        min_tokens: MinTokens | None = None,
        window: RepeatWindow | None = None,
        banned: BannedSequences | None = None,
    ) -> None:
        self.index = index
        self.slot = slot
        self.reply = Reply.of(params, vocabulary)
        self.rollback = rollback
        self.mask = mask
        self.forced = ForcedIds()
        self.sampler_index = -1
        self.min_tokens = min_tokens
        self.window = window
        self.banned = banned
        self.num_sampled = 0
        self.last_token_id = -1
        self.last_token_at = 0.0
        self._params = params
        self._eos_token_id = vocabulary.eos_token_id
        self._ending_ids = ending_ids(params, vocabulary.eos_token_id)
        if mask is not None:
            self.forced.look_ahead(mask)

    @property
    def needs_last_id(self) -> bool:
        """True if the next draw depends on the last id, which must have been read."""
        return any(each is not None for each in (self.mask, self.window, self.banned))

    def restricted(
        self, words: MaskWords | None, num_fixed: int = 0, num_unread: int = 0
    ) -> MaskWords | None:
        """Return the mask of the draw after so many fixed, or unread, ids.

        words: the request's own mask; None: it has none.
        """
        if self.min_tokens is not None:
            words = self.min_tokens.restricted(words, self.num_sampled + num_fixed + num_unread)
        if self.banned is not None:
            ids = self.reply.ids[max(0, len(self.reply.ids) - self.banned.longest) :]
            words = self.banned.restricted(words, [*ids, *self.forced.first(num_fixed)])
        return words

    @property
    def num_fed(self) -> int:
        """Ids of the reply that the slot's state covers, between two steps."""
        # The last id is fed in the step that draws the next one.
        return max(0, self.num_sampled - 1)

    @property
    def unshown_ids(self) -> list[int]:
        """Ids of the reply after the last that is wholly shown, the one that ended it included."""
        rest = self.reply.ids[self.reply.num_shown :].tolist()
        return rest if len(self.reply.ids) == self.num_sampled else [*rest, self.last_token_id]

    @property
    def is_complete(self) -> bool:
        """True if the mask allows no further id."""
        return self.mask is not None and not self.forced and self.mask.is_complete

    @property
    def is_drawn_next(self) -> bool:
        """True if the next id, or the one after the known forced ids, is drawn."""
        if self.mask is None or not self.forced.is_whole or self.mask.is_complete:
            return False
        return self.num_sampled + len(self.forced) < self._params.max_tokens

    def num_fixed(self) -> int:
        """Return the number of forced ids that the next step may feed with the last id."""
        fixed = len(self.forced)
        # A copy of the state must be taken before each id that a stop string may take back.
        if self.mask is None or not fixed or self.rollback is not None:
            return 0
        if not self.forced.is_whole or self.mask.is_complete:
            # The last of them ends the reply, or is followed by more: it is not fed before that is known.
            fixed -= 1
        fixed = min(fixed, self._params.max_tokens - self.num_sampled - 1)
        ids = self.forced.first(max(0, fixed))
        end = next((i for i, token_id in enumerate(ids) if token_id in self._ending_ids), len(ids))
        return self.reply.first_stop(ids[:end])

    def accept(self, sampled: Sampled) -> tuple[Tokens | None, ReplyEnd | None]:
        """Add an id. Return what may be shown, and the cause if the reply ends. Raises ServerError."""
        self.num_sampled += 1
        token_id = self.last_token_id = sampled.token_id
        if self.window is not None:
            self.window.push(token_id)
        if self.mask is not None:
            self._follow_mask(self.mask, token_id)
        if token_id in self._ending_ids:
            stop_reason = None if token_id == self._eos_token_id else token_id
            return self._event(self.reply.end(sampled)), ReplyEnd("stop", stop_reason)
        shown, stop = self.reply.push(sampled, may_stop=self.num_sampled > self._params.min_tokens)
        if stop is not None:
            return self._event(shown), ReplyEnd("stop", stop)
        if self.is_complete:
            return self._event(shown.then(self.reply.flush())), ReplyEnd("stop")
        if self.num_sampled == self._params.max_tokens:
            return self._event(shown.then(self.reply.flush())), ReplyEnd("length")
        if self.rollback is not None:
            self.rollback.follow(self.num_fed, self.reply.num_shown, self.reply.holds_back)
        return self._event(shown), None

    def flush(self) -> Tokens | None:
        """Return the held back output, when the reply ends otherwise than by a stop string."""
        return self._event(self.reply.flush())

    def _follow_mask(self, mask: ChoiceMask, token_id: int) -> None:
        if not self.forced:
            mask.accept(token_id)
            self.forced.look_ahead(mask)
            return
        self.forced.take()
        if not self.forced.is_whole:
            self.forced.look_ahead(mask)

    def _event(self, shown: Shown) -> Tokens | None:
        if not shown.sampled and not shown.text:
            return None
        return Tokens(
            choice=self.index,
            token_ids=[sampled.token_id for sampled in shown.sampled],
            text_bytes=shown.text,
            logprobs=shown.sampled if self._params.logprobs is not None else None,
            completion_tokens=self.num_sampled,
        )


class Running:
    """A request with its progress. Times are of the engine's monotonic clock.

    feed_token_ids: ids to feed before the first is sampled: pending ones of the state, then the prompt's.
    choices: those that have a slot and have not ended.
    packed_token_ids: the feed as the state cache reads it; empty where no state of the request is kept.
    num_cached: ids of the feed that a kept or promised state covered when the request arrived.
    num_written: its other ids up to the last state that the request pins.
    marks: positions in the feed of states to keep.
    published: what was emitted, kept only for a client that may ask again.
    embedding: sum of the prompt's final rows so far; None until the first, and where nobody asks for it.
    """

    def __init__(self, request: Request, turn: Turn | None, arrived_at: float, queue_timeout: float) -> None:
        self.request = request
        self.turn = turn
        self.feed_token_ids = id_array(request.prompt_token_ids)
        resumed = turn or request.start
        if resumed is not None and resumed.pending_ids:
            self.feed_token_ids = array("i", resumed.pending_ids) + self.feed_token_ids
        self.choices: dict[int, Choice] = {}
        self.published: list[Tokens] = []
        self.embedding: EmbeddingSum | None = None
        self.arrived_at = arrived_at
        self.queue_deadline = arrived_at + queue_timeout
        self.started_at: float | None = None
        self.prefilled_at: float | None = None
        self.packed_token_ids = b""
        self.num_cached = 0
        self.num_written = 0
        self.marks: Sequence[int] = ()

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.request_id

    @property
    def partition(self) -> Partition:
        """Requests that share cached states with this one."""
        return Partition(self.request.owner, self.request.cache_salt)

    @property
    def is_continued(self) -> bool:
        """True if the feed alone does not determine the state, because it follows a state already."""
        # A tuned state has a turn and no ids: a cached state of the same feed is another one.
        return self.request.start is not None or (self.turn is not None and self.turn.has_state)

    @property
    def is_scored(self) -> bool:
        """True if log-probabilities of the prompt are requested."""
        return self.request.params.prompt_logprobs is not None

    @property
    def reads_every_token(self) -> bool:
        """True if rows of the whole prompt are needed, which a cached state does not have."""
        return self.is_scored or self.request.embeds

    @property
    def is_idempotent(self) -> bool:
        """True if its turn has an Idempotency-Key."""
        return self.turn is not None and self.turn.idempotency_key is not None

    @property
    def has_sampled(self) -> bool:
        """True if any id was sampled."""
        return any(choice.num_sampled for choice in self.choices.values())

    def embed(self, rows: Float32s) -> None:
        """Add the next final rows (K, d) of the prompt to its embedding."""
        if self.embedding is None:
            self.embedding = EmbeddingSum(rows.shape[1])
        self.embedding.add(rows)

    def is_past(self, now: float) -> bool:
        """Return True if the request's deadline has passed."""
        return self.request.deadline is not None and self.request.deadline <= now

    def usage(self, choice: Choice) -> TokenUsage:
        """Return the usage of a choice so far."""
        num_prompt = len(self.request.prompt_token_ids)
        return TokenUsage(num_prompt, choice.num_sampled, self.num_cached, self.num_written)
