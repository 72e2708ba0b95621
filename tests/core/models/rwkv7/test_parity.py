"""RWKV-7's numbers are those of its mathematics in float64."""

import pytest
import torch

from tests.core.batches import run_alone
from tests.core.models.rwkv7.tiny import CONFIG, Reference, in_format, model_of, random_weights, widened


def tokens(count: int) -> list[int]:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(CONFIG.vocab_size, (count,), generator=generator).tolist()


@pytest.mark.parametrize("weight_format", ["float32", "bfloat16"])
@pytest.mark.parametrize("seed", range(2))
def test_logits_and_states_are_those_of_float64(weight_format: str, seed: int) -> None:
    weights = in_format(random_weights(seed=seed), weight_format)
    logits, final = run_alone(model_of(weights), tokens(200))
    reference = Reference(widened(weights))
    expected = reference.logits(tokens(200))
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    parts = final.views()
    for layer, state in enumerate(reference.states):
        # Ours is (head, key, value).
        for ours, theirs in (
            (parts["heads"][layer].transpose(1, 2), state.heads),
            (parts["time_shift"][layer], state.time),
            (parts["channel_shift"][layer], state.channel),
        ):
            assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_integers_stay_near_their_own_weights_in_float64() -> None:
    """Activations are rounded to 8 bits, which is all that may differ."""
    weights = in_format(random_weights(), "int8")
    logits, _ = run_alone(model_of(weights), tokens(50))
    expected = Reference(widened(weights)).logits(tokens(50))
    assert torch.cosine_similarity(logits.double(), expected, dim=1).min() > 0.99


def test_a_state_takes_the_bytes_of_its_formula() -> None:
    state = model_of(random_weights()).new_state(1)
    layers, d = CONFIG.num_hidden_layers, CONFIG.hidden_size
    assert state.nbytes == layers * (64 * d + 2 * d) * 4 + 4 * d + -(-CONFIG.vocab_size // 8)


def test_the_head_reads_the_last_row() -> None:
    model = model_of(random_weights())
    logits, final = run_alone(model, tokens(9))
    state = model.new_state(2)
    state.restore(1, final)
    assert torch.equal(model.head(state, [1])[0], logits[-1])
