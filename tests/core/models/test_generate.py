from collections.abc import Iterator

import pytest
import torch

from pararnn_core.generate import PREFILL_CHUNK_TOKENS, generate
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.sampling_params import InvalidSamplingParams, SamplingParams
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPT = [5, 9, 200, 31, 7]


@pytest.fixture(scope="module", params=["gru", "lstm"])
def model(request: pytest.FixtureRequest) -> ParaRNNForCausalLM:
    return tiny_model(request.param, seed=4)


def random_tokens(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, TINY_VOCAB_SIZE, (count,), generator=generator).tolist()


def test_greedy_takes_the_most_likely_token_of_the_reference(model: ParaRNNForCausalLM) -> None:
    reply = list(generate(model, PROMPT, GREEDY))
    with torch.no_grad():
        logits = model.logits(torch.tensor([PROMPT + reply]), mode="sequential")[0]
    for i, token in enumerate(reply):
        row = logits[len(PROMPT) - 1 + i]
        assert row[token] > row.max() - 1e-4


def test_a_seed_repeats_its_reply_and_another_seed_does_not(model: ParaRNNForCausalLM) -> None:
    def reply(seed: int) -> list[int]:
        return list(generate(model, PROMPT, SamplingParams(max_tokens=20, seed=seed, ignore_eos=True)))

    assert reply(1) == reply(1)
    assert len({tuple(reply(seed)) for seed in range(5)}) == 5


def test_packed_and_unpacked_models_reply_alike() -> None:
    params = SamplingParams(max_tokens=20, seed=3, ignore_eos=True)
    assert list(generate(tiny_model(seed=4).pack(), PROMPT, params)) == list(
        generate(tiny_model(seed=4), PROMPT, params)
    )


def test_a_prompt_longer_than_a_chunk_equals_one_fed_token_by_token(model: ParaRNNForCausalLM) -> None:
    prompt = random_tokens(2 * PREFILL_CHUNK_TOKENS + 3, seed=1)
    state = model.new_state(1)
    for token in prompt[:-1]:
        assert list(generate(model, [token], SamplingParams(max_tokens=0), state)) == []
    assert list(generate(model, prompt[-1:], GREEDY, state)) == list(generate(model, prompt, GREEDY))


def test_generation_goes_on_from_a_state(model: ParaRNNForCausalLM) -> None:
    whole = list(generate(model, PROMPT, GREEDY))
    state = model.new_state(2)
    state.poison(0)
    first = list(
        generate(model, PROMPT, SamplingParams(temperature=0, max_tokens=5, ignore_eos=True), state, 1)
    )
    rest = list(
        generate(model, first[-1:], SamplingParams(temperature=0, max_tokens=7, ignore_eos=True), state, 1)
    )
    assert first + rest == whole


def test_the_slot_holds_the_reply_but_for_a_last_token_at_the_limit(model: ParaRNNForCausalLM) -> None:
    state, other = model.new_state(1), model.new_state(1)
    reply = list(generate(model, PROMPT, GREEDY, state))
    list(generate(model, PROMPT + reply[:-1], SamplingParams(max_tokens=0), other))
    assert state.snapshot(0) == other.snapshot(0)
    state.reset(0)
    other.reset(0)
    stop = SamplingParams(temperature=0, max_tokens=12, stop_token_ids=(reply[6],), ignore_eos=True)
    stopped = list(generate(model, PROMPT, stop, state))
    list(generate(model, PROMPT + stopped, SamplingParams(max_tokens=0), other))
    assert state.snapshot(0) == other.snapshot(0)


def test_the_models_own_generate_is_the_same(model: ParaRNNForCausalLM) -> None:
    assert list(model.generate(PROMPT, GREEDY)) == list(generate(model, PROMPT, GREEDY))


def test_stop_tokens_and_eos_end_the_reply_and_are_not_part_of_it(model: ParaRNNForCausalLM) -> None:
    whole = list(generate(model, PROMPT, GREEDY))
    stop = whole[6]
    stopped = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, stop_token_ids=(stop,))
    assert list(generate(model, PROMPT, stopped)) == whole[: whole.index(stop)]
    eos = model.config.eos_token_id
    assert eos is not None
    push = {eos: 100.0}
    assert list(generate(model, PROMPT, SamplingParams(temperature=0, logit_bias=push))) == []
    ignoring = SamplingParams(temperature=0, logit_bias=push, ignore_eos=True, max_tokens=3)
    assert list(generate(model, PROMPT, ignoring)) == [eos] * 3


def test_penalties_see_the_prompt_and_the_reply(model: ParaRNNForCausalLM) -> None:
    favoured = {50: 100.0, 51: 70.0}
    repeated = SamplingParams(temperature=0, logit_bias=favoured, max_tokens=4, ignore_eos=True)
    assert list(generate(model, PROMPT, repeated)) == [50] * 4
    penalised = SamplingParams(
        temperature=0, logit_bias=favoured, max_tokens=2, ignore_eos=True, repetition_penalty=2.0
    )
    assert list(generate(model, PROMPT, penalised)) == [50, 51]
    assert next(generate(model, [50, *PROMPT], penalised)) == 51


def test_tokens_come_one_by_one(model: ParaRNNForCausalLM) -> None:
    endless = generate(model, PROMPT, SamplingParams(temperature=0, max_tokens=10**9, ignore_eos=True))
    assert isinstance(endless, Iterator)
    assert [next(endless) for _ in range(12)] == list(generate(model, PROMPT, GREEDY))


def test_what_cannot_be_honoured_is_refused_at_the_call(model: ParaRNNForCausalLM) -> None:
    with pytest.raises(ValueError, match="prompt_ids"):
        generate(model, [], GREEDY)
    for token in (-1, TINY_VOCAB_SIZE):
        with pytest.raises(ValueError, match=rf"prompt_ids must be in .* got {token}$"):
            generate(model, [*PROMPT, token], GREEDY)
    for slot in (-1, 1):
        with pytest.raises(ValueError, match=rf"slot must be in .* got {slot}$"):
            generate(model, PROMPT, GREEDY, slot=slot)
    for params in (
        SamplingParams(stop=("x",)),
        SamplingParams(logprobs=0),
        SamplingParams(prompt_logprobs=1),
        SamplingParams(stop_token_ids=(TINY_VOCAB_SIZE,)),
        SamplingParams(logit_bias={TINY_VOCAB_SIZE: 1.0}),
    ):
        with pytest.raises(InvalidSamplingParams):
            generate(model, PROMPT, params)
