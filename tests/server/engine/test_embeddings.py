"""An embedding is the mean of a prompt's final rows: the same bits in any chunks and any company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pararnn_server.engine.embedding import EmbeddingSum
from pararnn_server.engine.request import Embedding
from pararnn_server.errors import BadRequest, Internal

from pararnn_core.sampling_params import SamplingParams
from tests.fixtures import tiny_model
from tests.server.engine_fixtures import Bench, Reader, greedy, model, running

NO_REPLY = SamplingParams(max_tokens=0)
PROMPT = [(7 * i) % 250 for i in range(90)]


def vector(reader: Reader) -> np.ndarray:
    [found] = [output.vector for output in reader.wait().outputs if isinstance(output, Embedding)]
    assert reader.finish.usage.completion_tokens == 0
    return found


def embedded(bench: Bench, prompt: list[int], **over: Any) -> np.ndarray:
    return vector(bench.ask(prompt, NO_REPLY, embeds=True, **over))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_embedding_is_the_mean_of_the_final_rows(cell: str) -> None:
    served = model(cell)
    with torch.inference_mode():
        rows = served.hidden(torch.tensor([PROMPT]))[0].double().mean(0)
    with running(served) as bench:
        found = embedded(bench, PROMPT)
    np.testing.assert_allclose(found, (rows / rows.norm()).numpy(), rtol=0, atol=1e-5)
    assert abs(float(np.linalg.norm(found)) - 1.0) < 1e-6


@pytest.mark.parametrize("budget", [8, 33, 512])
def test_embedding_has_the_same_bits_in_any_chunks_and_any_company(budget: int) -> None:
    with running() as bench:
        expected = embedded(bench, PROMPT)
    with running(max_num_seqs=8, max_num_batched_tokens=budget, state_cache_bytes_per_key=1 << 20) as bench:
        neighbours = [bench.submit([9, 8, 7], greedy(200)), bench.submit(PROMPT[:40], greedy(3, logprobs=1))]
        others = [bench.submit(PROMPT[:n], NO_REPLY, embeds=True) for n in (1, 50, 90)]
        for _ in range(2):
            assert embedded(bench, PROMPT).tobytes() == expected.tobytes()
        assert vector(others[2]).tobytes() == expected.tobytes()
        assert vector(others[0]).tobytes() != vector(others[1]).tobytes()
        for neighbour in neighbours:
            neighbour.wait()


def test_neighbours_of_an_embedding_have_their_own_replies() -> None:
    with running() as bench:
        expected = bench.ask([9, 8, 7], greedy(20)).ids()
    with running(max_num_seqs=4, max_num_batched_tokens=16) as bench:
        readers = [bench.submit([9, 8, 7], greedy(20)), bench.submit(PROMPT, NO_REPLY, embeds=True)]
        assert readers[0].wait().ids() == expected
        vector(readers[1])


def test_embedding_of_a_row_that_is_not_finite_is_an_error_of_its_own_request() -> None:
    total = EmbeddingSum(2)
    total.add(np.array([[np.nan, 1.0]], np.float32))
    assert total.vector() is None
    assert EmbeddingSum(2).vector() is None


def test_model_that_gives_nan_ends_the_request_with_a_500() -> None:
    spoilt = tiny_model()
    with torch.no_grad():
        spoilt.embedding.weight[5] = torch.nan
    with running(spoilt) as bench:
        reader = bench.ask([1, 5, 2], NO_REPLY, embeds=True)
        assert reader.failed is not None
        assert isinstance(reader.failed.error, Internal)
        assert len(embedded(bench, [1, 2])) == 32


def test_an_embedding_has_neither_a_reply_nor_a_session() -> None:
    with running() as bench:
        with pytest.raises(BadRequest):
            bench.submit([1], greedy(1), embeds=True)
        with pytest.raises(BadRequest):
            bench.submit([1], NO_REPLY, embeds=True, session_id=bench.sessions.create().id)
