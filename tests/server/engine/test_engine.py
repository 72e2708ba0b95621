"""The engine thread: same tokens beside any other requests, limits, shutdown."""

import itertools
import random as random_module
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pararnn_server.engine.request import Failed, Finished, Started, Tokens
from pararnn_server.errors import BadRequest, TooManyRequests, Unavailable
from pararnn_server.metrics.metrics import PoolStats

from pararnn_core.sampling.sampler import token_logprobs
from pararnn_core.sampling_params import SamplingParams
from tests.server.engine_fixtures import (
    LETTER_BIAS,
    TOKEN_BYTES,
    VOCAB_SIZE,
    Bench,
    Reader,
    alone,
    feed_slot,
    greedy,
    make_request,
    model,
    random,
    running,
    until,
)


def draw_prompts(count: int, longest: int, seed: int) -> list[list[int]]:
    draw = random_module.Random(seed)
    return [[draw.randrange(VOCAB_SIZE) for _ in range(draw.randint(1, longest))] for _ in range(count)]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_batching_does_not_change_output(cell: str) -> None:
    seed = random_module.SystemRandom().randrange(2**32)
    print("seed", seed)
    prompts = draw_prompts(64, 60, seed)
    wishes = [
        greedy(12) if index % 2 else random(seed + index, 12, top_p=0.9, repetition_penalty=1.3)
        for index in range(64)
    ]
    with running(model(cell), max_num_seqs=64, max_num_batched_tokens=96) as bench:
        readers = [bench.submit(*pair) for pair in zip(prompts, wishes, strict=True)]
        batched = [reader.wait().ids() for reader in readers]
    assert batched == [alone(model(cell), *pair) for pair in zip(prompts, wishes, strict=True)]


@settings(max_examples=12)
@given(
    slots=st.integers(1, 5),
    extra=st.integers(0, 40),
    slowdown=st.floats(1.0, 50.0),
    seed=st.integers(0, 2**32),
)
def test_chunks_slots_and_order_do_not_change_output(
    slots: int, extra: int, slowdown: float, seed: int
) -> None:
    prompts = draw_prompts(8, 70, seed)
    limits = {"max_num_batched_tokens": slots + extra, "max_decode_slowdown": slowdown}
    with running(max_num_seqs=slots, **limits) as bench:
        readers = [bench.submit(prompt, random(seed, 6)) for prompt in prompts]
        assert [reader.wait().ids() for reader in readers] == [
            alone(model(), prompt, random(seed, 6)) for prompt in prompts
        ]


def test_slot_reuse_leaks_nothing() -> None:
    seed = random_module.SystemRandom().randrange(2**32)
    print("seed", seed)
    with running(max_num_seqs=2, poison_freed_slots=True) as bench:
        for prompt in draw_prompts(30, 20, seed):
            params = random(seed, 5, repetition_penalty=1.5)
            assert bench.ask(prompt, params).ids() == alone(model(), prompt, params)


def test_options_of_a_slot_leave_with_its_request() -> None:
    biased = random(1, 6, logit_bias={97: 50.0}, presence_penalty=2.0, frequency_penalty=2.0, top_k=4)
    with running(max_num_seqs=1) as bench:
        for params in (biased, random(2, 6), biased, greedy(6), random(3, 6, frequency_penalty=1.0)):
            assert bench.ask([5, 6], params).ids() == alone(model(), [5, 6], params)


def test_every_choice_is_the_one_it_would_be_alone() -> None:
    params = random(7, 10, presence_penalty=1.0)
    with running(max_num_seqs=6) as bench:
        neighbour = bench.submit([4, 4], greedy(30))
        reader = bench.ask([9, 8, 7], params, num_choices=5)
        assert [reader.ids(choice) for choice in range(5)] == [
            alone(model(), [9, 8, 7], params, choice) for choice in range(5)
        ]
        assert len({tuple(reader.ids(choice)) for choice in range(5)}) > 1
        assert [finished.usage.prompt_tokens for finished in reader.finished] == [3] * 5
        neighbour.wait()


@pytest.mark.parametrize("budget", [5, 64])
def test_prompt_logprobs_do_not_depend_on_chunks(budget: int) -> None:
    [prompt] = draw_prompts(1, 50, 11)
    state = model().new_state(1)
    expected = [
        token_logprobs(feed_slot(model(), state, [token_id]), [following], 3)[0]
        for token_id, following in itertools.pairwise(prompt)
    ]
    with running(max_num_seqs=2, max_num_batched_tokens=budget) as bench:
        for max_tokens in (0, 4):
            reader = bench.ask(prompt, greedy(max_tokens, prompt_logprobs=3, logprobs=2))
            assert reader.prompt_logprobs == [None, *expected]
            assert reader.ids() == alone(model(), prompt, greedy(max_tokens))


def test_logprobs_come_with_their_ids() -> None:
    with running() as bench:
        reader = bench.ask([1, 2], greedy(6, logprobs=2))
        for event in reader.events():
            assert event.logprobs is not None
            assert [sampled.token_id for sampled in event.logprobs] == event.token_ids
            assert all(len(sampled.top) == 2 and sampled.logprob for sampled in event.logprobs)
        assert all(event.logprobs is None for event in bench.ask([1, 2], greedy(6)).events())


def test_no_tokens_asked_for_feeds_the_prompt_only() -> None:
    with running() as bench:
        reader = bench.ask([1, 2, 3], greedy(0), num_choices=2)
        assert [(f.finish_reason, f.usage.completion_tokens) for f in reader.finished] == [("length", 0)] * 2
        assert not reader.events()


def test_eos_ends_with_stop_unless_ignored_and_is_not_shown() -> None:
    eos = model().config.eos_token_id
    assert eos is not None
    bias = {eos: 100.0}
    with running() as bench:
        reader = bench.ask([1], SamplingParams(max_tokens=5, temperature=0.0, logit_bias=bias))
        assert (reader.finish.finish_reason, reader.finish.stop_reason) == ("stop", None)
        assert reader.finish.usage.completion_tokens == 1
        assert reader.ids() == []
        assert bench.ask([1], greedy(5, logit_bias=bias)).ids() == [eos] * 5


def test_an_eos_shows_what_a_possible_stop_held_back() -> None:
    eos = model().config.eos_token_id
    assert eos is not None
    bias, stops = {**LETTER_BIAS, eos: 59.0}, tuple(letter + "x" for letter in "abc")
    endings = set()
    with running() as bench:
        for seed in range(20):
            params = SamplingParams(max_tokens=20, seed=seed, logit_bias=bias, stop=stops)
            reader = bench.ask([1], params)
            ids = alone(model(), [1], random(seed, 20, logit_bias=bias))
            expected = ids[: ids.index(eos)] if eos in ids else ids
            assert reader.ids() == expected
            assert reader.text() == b"".join(TOKEN_BYTES[token_id] for token_id in expected)
            endings.add(reader.finish.finish_reason)
    assert endings == {"stop", "length"}


def test_a_stop_id_ends_with_stop_and_names_itself() -> None:
    params = SamplingParams(max_tokens=5, temperature=0.0, logit_bias={99: 100.0}, stop_token_ids=(99,))
    with running() as bench:
        finish = bench.ask([1], params).finish
        assert (finish.finish_reason, finish.stop_reason) == ("stop", 99)


def test_stop_strings_cut_every_choice_by_itself() -> None:
    params = random(5, 60, logit_bias=LETTER_BIAS, stop=("cab", "bbb"))
    with running() as bench:
        free = bench.ask([1], random(5, 60, logit_bias=LETTER_BIAS), num_choices=4)
        cut = bench.ask([1], params, num_choices=4)
    for finished in cut.finished:
        text = free.text(finished.choice)
        found = [
            (text.find(stop.encode()) + len(stop), stop) for stop in params.stop if stop.encode() in text
        ]
        if found:
            end, stop = min(found)
            assert cut.text(finished.choice) == text[: end - len(stop)]
            assert (finished.finish_reason, finished.stop_reason) == ("stop", stop)
        else:
            assert cut.text(finished.choice) == text
            assert finished.finish_reason == "length"


def test_outputs_come_in_order_and_count_up() -> None:
    with running() as bench:
        reader = bench.ask([1, 2], greedy(10))
    assert isinstance(reader.outputs[0], Started)
    assert [event.completion_tokens for event in reader.events()] == list(range(1, 11))
    assert reader.outputs[-1] is reader.finish


def test_a_short_reply_ends_while_an_endless_one_runs() -> None:
    with running(max_num_seqs=2) as bench:
        endless = bench.submit([1], greedy(10**9), request_id="endless")
        bench.ask([2], greedy(20))
        assert not any(isinstance(output, Finished | Failed) for output in endless.outputs)
        bench.engine.abort("endless")
        assert endless.wait().finish.finish_reason == "abort"


def test_abort_frees_the_slot_while_the_thread_runs() -> None:
    with running(max_num_seqs=1) as bench:
        reader = bench.submit([1], greedy(10**9), request_id="endless")
        until(lambda: len(reader.outputs) > 3)
        bench.engine.abort("endless")
        assert reader.wait().finish.finish_reason == "abort"
        assert bench.ask([2], greedy(3)).ids() == alone(model(), [2], greedy(3))


def test_random_aborts_leave_the_others_alone() -> None:
    seed = random_module.SystemRandom().randrange(2**32)
    print("seed", seed)
    draw = random_module.Random(seed)
    prompts = draw_prompts(60, 30, seed)
    params = random(seed, 8)
    with running(max_num_seqs=6, max_num_batched_tokens=24) as bench:
        readers = [bench.submit(p, params, request_id=f"a{index}") for index, p in enumerate(prompts)]
        doomed = draw.sample(range(60), 30)
        for index in doomed:
            time.sleep(draw.random() * 0.004)
            bench.engine.abort(f"a{index}")
        for index, reader in enumerate(readers):
            expected = alone(model(), prompts[index], params)
            if reader.wait().finish.finish_reason == "abort":
                assert index in doomed
                assert reader.ids() == expected[: len(reader.ids())]
            else:
                assert reader.ids() == expected
        assert bench.engine.call(lambda: bench.engine.stats()).result(10) == PoolStats(0, 0, 0, 6, 0)


def test_a_full_queue_is_refused_until_a_request_ends() -> None:
    with running(max_num_seqs=1, max_queue=1) as bench:
        bench.submit([1], greedy(10**9), request_id="runs")
        waits = bench.submit([2], greedy(1))
        with pytest.raises(TooManyRequests) as error:
            bench.submit([3], greedy(1))
        assert error.value.code == "queue_full"
        assert int(error.value.headers["retry-after"]) >= 1
        bench.engine.abort("runs")
        waits.wait()
        bench.ask([3], greedy(1))


def test_requests_that_come_together_are_queued_all_or_none() -> None:
    with running(max_num_seqs=1, max_queue=1) as bench:
        readers = [Reader() for _ in range(3)]
        requests = [make_request(reader, [5], greedy(1)) for reader in readers]
        with pytest.raises(TooManyRequests):
            bench.engine.submit_all(requests)
        bench.engine.submit_all(requests[:2])
        for reader in readers[:2]:
            reader.wait()
        assert not readers[2].outputs


@pytest.mark.parametrize(
    ("prompt", "over", "param"),
    [
        ([], {}, "prompt"),
        ([VOCAB_SIZE], {}, "prompt"),
        ([1, -1], {}, "prompt"),
        ([1], {"num_choices": 5}, "n"),
    ],
)
def test_impossible_requests_are_refused_by_name(prompt: list[int], over: dict[str, int], param: str) -> None:
    with running(max_num_seqs=4) as bench:
        with pytest.raises(BadRequest) as error:
            bench.submit(prompt, greedy(1), **over)
        assert error.value.param == param
        with pytest.raises(BadRequest) as error:
            bench.submit([1], greedy(1, logit_bias={VOCAB_SIZE: 1.0}))
        assert error.value.param == "logit_bias"
        bench.ask([1], greedy(1))


def test_one_id_cannot_run_twice() -> None:
    with running() as bench:
        bench.submit([1], greedy(10**9), request_id="twin")
        with pytest.raises(ValueError, match="twin"):
            bench.submit([1], greedy(1), request_id="twin")


def test_stop_lets_running_requests_finish_and_refuses_new_ones() -> None:
    bench = Bench(max_num_seqs=2)
    bench.engine.start()
    assert bench.engine.is_accepting
    readers = [bench.submit([seed], greedy(400)) for seed in range(4)]
    until(lambda: readers[0].started)
    stopping = threading.Thread(target=bench.engine.stop, args=(60.0,))
    stopping.start()
    until(lambda: not bench.engine.is_accepting)
    with pytest.raises(Unavailable):
        bench.submit([1], greedy(1))
    stopping.join(60)
    assert [len(reader.wait(0.1).ids()) for reader in readers] == [400] * 4
    with pytest.raises(Unavailable):
        bench.engine.call(lambda: None)


def test_stop_ends_what_outlives_the_drain_time() -> None:
    bench = Bench(max_num_seqs=1)
    bench.engine.start()
    readers = [bench.submit([seed], greedy(10**9)) for seed in range(3)]
    bench.engine.stop(0.05)
    for reader in readers:
        failed = reader.wait(0.1).failed
        assert failed is not None
        assert isinstance(failed.error, Unavailable)


def test_stop_of_an_idle_engine_returns_at_once() -> None:
    bench = Bench()
    bench.engine.start()
    started = time.monotonic()
    bench.engine.stop(30.0)
    assert time.monotonic() - started < 5
    bench.engine.stop(30.0)


def test_an_idle_engine_sleeps() -> None:
    with running() as bench:
        bench.ask([1], greedy(1))
        time.sleep(0.05)
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1


def test_call_runs_on_the_engine_thread_and_passes_errors_on() -> None:
    with running() as bench:
        assert bench.engine.call(threading.current_thread).result(10).name == "engine"
        with pytest.raises(ZeroDivisionError):
            bench.engine.call(lambda: 1 // 0).result(10)
        bench.ask([1], greedy(1))


def test_readers_of_a_choice_get_no_token_after_its_end() -> None:
    with running() as bench:
        reader: Reader = bench.ask([3], random(1, 20, logit_bias=LETTER_BIAS, stop=("a",)), num_choices=3)
        for finished in reader.finished:
            place = reader.outputs.index(finished)
            later = [
                o for o in reader.outputs[place:] if isinstance(o, Tokens) and o.choice == finished.choice
            ]
            assert later == []
