"""Grammars of requests to token masks, off the event loop, with bounds of time and memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from llguidance import LLExecutor, LLMatcher, LLParserLimits

from pararnn_core.sampling.mask_words import mask_of
from pararnn_server.concurrency.fair_threads import FairThreads, current_key
from pararnn_server.errors import BadRequest
from pararnn_server.grammars.grammar_cache import GrammarCache
from pararnn_server.grammars.grammar_mask import GrammarMask, MaskMaker
from pararnn_server.grammars.grammar_tokenizer import grammar_tokenizer
from pararnn_server.grammars.messages import plain
from pararnn_server.grammars.schema_fault import place_of_fault
from pararnn_server.grammars.schema_limits import check_lark, check_schema, check_size
from pararnn_server.grammars.specs import Choice, CompiledSpec, Grammar, JsonSchema, Lark, Regex, Spec
from pararnn_server.text.tokenizer import Tokenizer

NUM_THREADS = 2
# Masks are made while the model runs, which has its own threads.
MASK_THREADS = max(1, (os.cpu_count() or 1) // 2)

# llguidance counts its work in these units. At its own limits a mask may take 20 ms, and a lexer 500 MB.
LIMITS = LLParserLimits(
    max_items_in_row=2000,
    initial_lexer_fuel=200_000,
    step_lexer_fuel=50_000,
    step_max_items=20_000,
    max_lexer_states=10_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """max_bytes: of one grammar or schema. cache_bytes_per_key: of compiled ones, about."""

    max_bytes: int = 64 << 10
    cache_bytes_per_key: int = 32 << 20


class GrammarCompiler:
    """Compiles the grammars of one served model. `compile` is for the event loop.

    eos_token_ids: each ends a reply; a grammar allows them where it is complete.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        eos_token_ids: Sequence[int],
        limits: GrammarLimits | None = None,
    ) -> None:
        self._limits = limits or GrammarLimits()
        self._vocab_size = tokenizer.vocab_size
        self._ends = mask_of(eos_token_ids, tokenizer.vocab_size)
        self._cache = GrammarCache(self._limits.cache_bytes_per_key)
        self._executor = LLExecutor(MASK_THREADS)
        self._threads = FairThreads(NUM_THREADS, "grammars")
        # A large vocabulary takes a second, in which the server starts.
        pool = ThreadPoolExecutor(1, "grammar tokenizer")
        self._tokens = pool.submit(grammar_tokenizer, tokenizer, tuple(eos_token_ids))
        pool.shutdown(wait=False)

    async def compile(self, spec: Spec, *, param: str, may_end: bool = True) -> GrammarMask:
        """Return the token mask of a grammar, at its start. Each choice of a reply follows a fork of it.

        param: the field that asked for it, as errors name it: "response_format.json_schema.schema".
        may_end: an EOS may end a reply that could go on; False: only a complete grammar ends it.
        Compiling runs on a thread; keys take turns. Raises BadRequest, which names the place, for a grammar
        that is wrong, not supported or too large.
        """
        return await self._threads.run(self._compile, spec, param, current_key.get(), may_end)

    def cached_bytes(self, key: str) -> int:
        """Return about the memory of the grammars that are kept for a key."""
        return self._cache.nbytes(key)

    def _compile(self, spec: Spec, param: str, key: str, may_end: bool) -> GrammarMask:
        checked = self._checked(spec, param)
        source = checked.source
        grammar = self._cache.get(key, source)
        if grammar is None:
            grammar = self._cache.put(key, source, self._compiled(checked, source, param))
        maker = MaskMaker(self._executor, self._vocab_size, self._tokens.result().vocab_size)
        # A copy: the other thread may have the same grammar, and a matcher is for one thread at a time.
        matcher, withheld = grammar.matcher.deep_copy(), None if may_end else self._ends
        mask = GrammarMask(matcher, maker, param, grammar, withheld)
        # Here, because all requests wait for the engine's thread.
        mask.look_ahead()
        return mask

    def _checked(self, spec: Spec, param: str) -> CompiledSpec:
        max_bytes = self._limits.max_bytes
        if isinstance(spec, Grammar):
            check_size(len(spec.text), max_bytes, param)
            try:
                spec = spec.as_lark()
            except ValueError as error:
                raise BadRequest(f"{param}: {plain(str(error))}.", param=param) from error
        if isinstance(spec, JsonSchema):
            check_schema(spec.schema, max_bytes, param)
        elif isinstance(spec, Choice):
            if not spec.texts:
                raise BadRequest(f"{param}: send at least one text.", param=param)
            check_size(sum(len(text) + 4 for text in spec.texts), max_bytes, param)
        elif isinstance(spec, Regex):
            check_size(len(spec.pattern), max_bytes, param)
        elif isinstance(spec, Lark):
            # GBNF becomes longer as Lark.
            check_lark(spec.grammar, 4 * max_bytes, param)
        return spec

    def _compiled(self, spec: CompiledSpec, source: str, param: str) -> LLMatcher:
        matcher = LLMatcher(self._tokens.result(), source, log_level=0, limits=LIMITS)
        if not matcher.is_error():
            return matcher
        message, place = plain(matcher.get_error()), ""
        if isinstance(spec, JsonSchema):
            place = place_of_fault(spec.schema, message, self._fault_of)
        raise BadRequest(f"{param}{place}: {message}.", param=f"{param}{place}", code="unsupported_grammar")

    def _fault_of(self, schema: Mapping[str, Any]) -> str:
        source = JsonSchema(schema).source
        return plain(LLMatcher.validate_grammar(source, limits=LIMITS))
