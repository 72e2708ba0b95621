import numpy as np
import pytest

from checkpoints.distil.token_streams import Stream
from checkpoints.distil.windows import LONG_EVERY, TrainingBatches, Windows, window_starts
from tests.checkpoints.distil.tiny import SIZES, STEP, random_streams, tiny_batches


def test_windows_cover_the_stream_and_show_each_short_document_whole() -> None:
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 30, 60)
    starts = np.concatenate(([0], lengths.cumsum()[:-1]))
    stream = Stream(np.arange(lengths.sum(), dtype=np.uint16), starts)
    length = 16
    windows = window_starts(stream, length)
    covered = np.zeros(len(stream.ids), bool)
    for start in windows:
        covered[start : start + length] = True
    assert covered[: windows[-1] + length].all()
    assert len(stream.ids) - (windows[-1] + length) <= length + 1
    for start, size in zip(starts, lengths, strict=True):
        if size <= length and start + size < windows[-1]:
            assert any(w <= start and start + size <= w + length for w in windows)


def test_a_batch_follows_from_its_step_alone_and_is_half_chat_half_prose() -> None:
    streams = random_streams()
    chat, prose = streams["training-chat"], streams["training-prose"]
    streams["training-chat"] = Stream(chat.ids % 100, chat.starts)
    streams["training-prose"] = Stream(prose.ids % 100 + 100, prose.starts)
    batches = TrainingBatches(streams, STEP, seed=0, short=16, long=32)
    forward = [batches.batch(step) for step in range(40)]
    for step in reversed(range(40)):
        batch = batches.batch(step)
        assert (batch.inputs == forward[step].inputs).all()
        assert batch.inputs.numel() == STEP
        assert batch.inputs.shape[1] == (32 if step % LONG_EVERY == LONG_EVERY - 1 else 16)
        assert (batch.inputs[:, 1:] == batch.targets[:, :-1]).all()
        half = len(batch.inputs) // 2
        assert (batch.inputs[:half] < 100).all()
        assert (batch.inputs[half:] >= 100).all()


def test_every_window_comes_once_before_any_comes_again() -> None:
    stream = random_streams()["training-chat"]
    windows = Windows(stream, 16, seed=3)
    count = len(windows.starts)
    first, second = windows.rows(0, count), windows.rows(count, count)
    assert (np.sort(first, axis=0) == np.sort(second, axis=0)).all()
    assert not (first == second).all()


def test_a_stream_too_short_for_a_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="no window of 16"):
        Windows(Stream(np.zeros(16, np.uint16), np.zeros(1, np.int64)), 16, seed=0)


def test_ids_stay_within_the_vocabulary() -> None:
    batch = tiny_batches().batch(5)
    assert int(batch.inputs.max()) < SIZES.vocab_size
