import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pararnn_core.quantize.quality import CHUNK, Quality, measure_quality, served_logits
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model
from tests.quantized_fixtures import FORMATS, tiny_quantized_model


def tokens(length: int, seed: int = 0) -> Tensor:
    return torch.randint(TINY_VOCAB_SIZE, (length,), generator=torch.Generator().manual_seed(seed))


def test_chunks_of_a_document_are_one_document() -> None:
    model, ids = tiny_model("lstm"), tokens(40)
    whole = torch.cat([logits for logits, _ in served_logits(model, ids)])
    parts = [*served_logits(model, ids, chunk=7)]
    assert torch.equal(torch.cat([logits for logits, _ in parts]), whole)
    assert torch.equal(torch.cat([targets for _, targets in parts]), ids[1:])
    assert list(served_logits(model, ids[:1])) == []
    assert CHUNK > 40


def test_a_model_beside_itself_loses_nothing() -> None:
    model = tiny_model()
    quality = measure_quality(model, model, [tokens(30), tokens(1), tokens(9, seed=1)])
    assert quality.tokens == 29 + 8
    assert quality.perplexity == quality.float_perplexity
    assert (quality.increase, quality.mean_divergence, quality.p99_divergence) == (0, 0, 0)
    assert quality.top1_agreement == 1


def test_figures_are_those_of_the_definitions() -> None:
    quantized = tiny_quantized_model("gru", FORMATS["int4"])
    reference = tiny_model("gru")
    documents = [tokens(80), tokens(50, seed=1)]
    quality = measure_quality(reference, quantized, documents)
    p, q = (
        torch.cat([logits for ids in documents for logits, _ in served_logits(model, ids)])
        .double()
        .log_softmax(1)
        for model in (reference, quantized)
    )
    targets = torch.cat([ids[1:] for ids in documents])
    divergence = F.kl_div(q, p, reduction="none", log_target=True).sum(dim=1)
    assert quality.float_perplexity == pytest.approx(math.exp(F.nll_loss(p, targets)), rel=1e-4)
    assert quality.perplexity == pytest.approx(math.exp(F.nll_loss(q, targets)), rel=1e-4)
    assert quality.mean_divergence == pytest.approx(float(divergence.mean()), rel=1e-4)
    # Of 128 tokens the 127th: 1 % is not a whole one.
    assert quality.p99_divergence == pytest.approx(float(divergence.sort().values[126]), rel=1e-4)
    assert quality.top1_agreement == float((p.argmax(1) == q.argmax(1)).float().mean())
    assert 0 < quality.mean_divergence < quality.p99_divergence
    assert quality.increase == quality.perplexity / quality.float_perplexity - 1


def test_it_is_the_served_arithmetic_that_is_measured() -> None:
    model, ids = tiny_model(), [tokens(30)]
    unpacked = measure_quality(model, tiny_quantized_model(), ids)
    assert measure_quality(tiny_model().pack(), tiny_quantized_model().pack(), ids) == unpacked


def test_progress_counts_predicted_tokens() -> None:
    seen: list[tuple[int, int]] = []
    model = tiny_model()
    measure_quality(model, model, [tokens(600), tokens(5)], lambda done, total: seen.append((done, total)))
    assert seen == [(CHUNK, 603), (599, 603), (603, 603)]


@pytest.mark.parametrize("documents", [[], [tokens(0)], [tokens(1), tokens(1)]])
def test_a_text_that_predicts_nothing_is_refused(documents: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="no token to predict"):
        measure_quality(tiny_model(), tiny_model(), documents)


def test_increase_is_a_share() -> None:
    assert Quality(1, 10.0, 10.5, 0, 0, 1).increase == pytest.approx(0.05)
