"""The engine over a model that serves through DeviceModel, as on a GPU, run here on the CPU."""

import logging
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pararnn_server.access.keys import ConfigurationError
from pararnn_server.models import startup as bring_up
from pararnn_server.settings.server_settings import Settings

from pararnn_core.models.pararnn.device_memory import step_bytes
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.state_layout import state_bytes, state_parts
from tests.core.device.models import FakeCapturer, TorchNewton, on_device, with_graphs
from tests.fixtures import tiny_config, tiny_model
from tests.server.engine_fixtures import alone, greedy, random, running
from tests.server.metrics_fixtures import values

PROMPTS = ([1, 2, 3], list(range(40)), [200], [9, 8, 7, 6, 5] * 30)
PARAMS = (
    greedy(12),
    random(7, 12),
    random(3, 12, repetition_penalty=1.5),
    random(5, 12, presence_penalty=0.5, top_p=0.9),
)


@cache
def packed() -> ParaRNNForCausalLM:
    return tiny_model("lstm", 1).pack()


def device(newton: bool = False) -> ParaRNNForCausalLM:
    return on_device(tiny_model("lstm", 1), TorchNewton() if newton else None)


@pytest.mark.parametrize("newton", [False, True])
def test_replies_of_a_batch_are_those_of_the_packed_model_alone(newton: bool) -> None:
    with running(device(newton), max_num_seqs=4, max_num_batched_tokens=64) as bench:
        readers = [bench.submit(*work) for work in zip(PROMPTS, PARAMS, strict=True)]
        replies = [reader.wait().ids() for reader in readers]
    assert replies == [alone(packed(), *work) for work in zip(PROMPTS, PARAMS, strict=True)]


def test_replies_through_graphs_are_those_of_the_packed_model_alone() -> None:
    capturer = FakeCapturer()
    with running(with_graphs(tiny_model("lstm", 1), capturer), max_num_seqs=4) as bench:
        readers = [bench.submit(*work) for work in zip(PROMPTS, PARAMS, strict=True)]
        replies = [reader.wait().ids() for reader in readers]
    assert replies == [alone(packed(), *work) for work in zip(PROMPTS, PARAMS, strict=True)]
    assert capturer.replays > 0


def test_session_goes_on_from_its_state() -> None:
    with running(device(), max_num_seqs=2) as bench:
        session = bench.sessions.create().id
        first = bench.ask(PROMPTS[1], greedy(5), session_id=session).ids()
        second = bench.ask([4, 5], greedy(6), session_id=session).ids()
    assert second == alone(packed(), [*PROMPTS[1], *first, 4, 5], greedy(6))


def test_stored_prompt_is_not_read_again_and_gives_the_same_reply() -> None:
    with running(device(), max_num_seqs=2, state_cache_bytes_per_key=1 << 20) as bench:
        once, again = (bench.ask(PROMPTS[3], greedy(6)) for _ in range(2))
    assert again.ids() == once.ids() == alone(packed(), PROMPTS[3], greedy(6))
    assert again.finish.usage.cached_tokens == len(PROMPTS[3])


def test_scored_prompt_has_the_log_probabilities_of_the_packed_model() -> None:
    def scores(model: ParaRNNForCausalLM) -> torch.Tensor:
        with running(model, max_num_seqs=2) as bench:
            rows = bench.ask(PROMPTS[1], greedy(1, prompt_logprobs=2)).prompt_logprobs
        assert rows[0] is None
        return torch.tensor([row.logprob for row in rows[1:]])

    torch.testing.assert_close(scores(device()), scores(packed()), rtol=0, atol=1e-4)


def test_solves_by_newton_are_counted() -> None:
    def count(metrics: Any) -> float:
        return values(metrics.server)["newton_iterations_count"]

    with running(device(newton=True), max_num_seqs=2) as bench:
        bench.ask(PROMPTS[1], greedy(3))
        assert count(bench.metrics) == 3
        assert values(bench.metrics.server)["newton_residual_sum"] < 3e-6
        assert values(bench.metrics.server)["newton_fallbacks_total"] == 0
    with running(device(), max_num_seqs=2) as bench:
        bench.ask(PROMPTS[1], greedy(3))
        assert count(bench.metrics) == 0


def gpu_with(free: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model as the pool's size sees one that is on a GPU."""
    monkeypatch.setattr(bring_up, "free_bytes", lambda device: free)
    config = tiny_config(activation_dtype="bfloat16")
    return SimpleNamespace(
        device=torch.device("cuda"),
        config=config,
        state_parts=state_parts(config),
        step_bytes=lambda num_tokens: step_bytes(config, num_tokens),
    )


def test_gpu_runs_as_many_requests_as_its_memory_holds_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(max_num_seqs=64, max_num_batched_tokens=64)
    caplog.set_level(logging.INFO)
    assert bring_up.num_slots(gpu_with(1 << 30, monkeypatch), settings) == 64
    model = gpu_with(0, monkeypatch)
    working = step_bytes(model.config, 64 + 3 * 64)
    fits = gpu_with(working + 40 * state_bytes(model.config), monkeypatch)
    assert bring_up.num_slots(fits, settings) == 19
    assert "64 requests run at once, in " in caplog.messages[0]
    assert "instead of 64" in caplog.messages[1]
    with pytest.raises(ConfigurationError, match="no state of a session fits"):
        bring_up.num_slots(gpu_with(1000, monkeypatch), settings)


def test_a_step_on_a_gpu_is_longer_unless_its_length_is_given() -> None:
    assert [bring_up.step_tokens(Settings(), kind) for kind in ("cpu", "cuda")] == [512, 2048]
    assert bring_up.step_tokens(Settings(max_num_seqs=4000), "cuda") == 4000
    assert bring_up.step_tokens(Settings(max_num_batched_tokens=64), "cuda") == 64


def test_cpu_runs_as_many_requests_as_are_asked_for() -> None:
    assert bring_up.num_slots(packed(), Settings(max_num_seqs=7)) == 7
