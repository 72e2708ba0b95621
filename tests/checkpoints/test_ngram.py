import math

import numpy as np
import pytest

from checkpoints.baselines import byte_ngram_bits_per_byte, xz_bits_per_byte
from checkpoints.corpus import Document
from checkpoints.ngram import NGram, bits, modified_discounts

SYMBOLS = 7


@pytest.fixture
def seed() -> int:
    value = int(np.random.default_rng().integers(2**32))
    print("seed", value)
    return value


def documents(seed: int, count: int = 20) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.choice(5, size=random.integers(1, 60), p=(0.5, 0.2, 0.15, 0.1, 0.05)) for _ in range(count)
    ]


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_of_all_symbols_sum_to_one_in_every_context(seed: int, order: int) -> None:
    model = NGram(documents(seed), order, SYMBOLS, boundary=SYMBOLS - 1)
    random = np.random.default_rng(seed + 1)
    for context in random.integers(SYMBOLS ** (order - 1), size=50):
        every = np.arange(SYMBOLS)
        probabilities = model.conditional(np.full(SYMBOLS, context), every)
        assert (probabilities > 0).all()
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)


def test_document_probabilities_are_the_conditional_ones(seed: int) -> None:
    model = NGram(documents(seed), 3, SYMBOLS, boundary=6)
    document = documents(seed + 1)[0]
    padded = [6, 6, *document]
    contexts = np.array([padded[i] * SYMBOLS + padded[i + 1] for i in range(len(document))])
    np.testing.assert_array_equal(model.probabilities(document), model.conditional(contexts, document))


def test_longer_contexts_predict_a_pattern_better() -> None:
    pattern = [np.array([0, 1, 0, 2] * 50)]
    costs = [bits(NGram(pattern, order, SYMBOLS, 6).probabilities(pattern[0])) for order in (1, 2, 3)]
    assert costs[0] > costs[1] > costs[2]


def test_a_bigram_equals_the_formula() -> None:
    model = NGram([np.array([0, 1, 0, 1, 0, 2])], 2, num_symbols=3, boundary=2)
    # Bigrams 20, 01 (twice), 10 (twice), 02; n1 = 2 (20 and 02), n2 = 2.
    y = 2 / (2 + 2 * 2)
    discounts = [1 - 2 * y * 2 / 2, max(0.1, min(1.9, 2 - 3 * y * 1 / 2))]
    top = modified_discounts(np.array([1, 2, 2, 1]))
    np.testing.assert_allclose(top[1:3], discounts)
    lower = model.conditional(np.array([1]), np.array([1]))  # context 1 was followed by 0 only
    unigram = NGram([np.array([0, 1, 0, 1, 0, 2])], 2, 3, 2).levels[0]
    # Symbol 0 follows 2 and 1, symbol 1 follows 0, symbol 2 follows 0.
    np.testing.assert_array_equal(unigram.counts, [2, 1, 1])
    base = (1 - unigram.discounts[1]) / 4 + unigram.backoff[0] / 3
    assert lower[0] == pytest.approx(top[2] / 2 * base)


def test_too_many_symbols_are_refused() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        NGram([np.array([1])], 6, 4096, 0)


def test_baselines_see_repetition() -> None:
    repeated = [Document("a.py", "value = 1\n" * 300)]
    noise = [Document("b.py", "".join(chr(33 + i * i * 7 % 90) for i in range(3000)))]
    assert xz_bits_per_byte(repeated) < xz_bits_per_byte(noise)
    assert byte_ngram_bits_per_byte(repeated, repeated) < 0.2
    assert math.isfinite(byte_ngram_bits_per_byte(repeated, noise))
