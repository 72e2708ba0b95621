"""Training of the state: it learns, stops early, resumes bit for bit, and changes no weight."""

from array import array
from pathlib import Path

import pytest
import torch

from pararnn_core.cells import CELLS
from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import format_for
from pararnn_core.quantize import quantize_checkpoint
from pararnn_core.tuning.chat_loss import Chat
from pararnn_core.tuning.frozen_model import frozen_model
from pararnn_core.tuning.progress_file import ProgressFileError, read_point, write_point
from pararnn_core.tuning.served_loss import SPANS, served_loss
from pararnn_core.tuning.tuner import Epoch, Point, TuneOptions, Tuner, mean_loss, micro_batches
from tests.fixtures import tiny_checkpoint, tiny_model

OPTIONS = TuneOptions(epochs=6, batch=3, rate=0.05, patience=6)


def chats(count: int = 6, length: int = 12) -> list[Chat]:
    ids = [array("i", [7, 11 + number, *([42, 43] * length)][:length]) for number in range(count)]
    return [Chat(each, bytes([0, 0, *([1] * (len(each) - 2))])) for each in ids]


def tuner(model: ParaRNNForCausalLM, options: TuneOptions = OPTIONS) -> Tuner:
    return Tuner(model, chats(), chats(2), options)


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_learns_a_manner_and_no_weight_changes(cell: str) -> None:
    model = tiny_model(cell).requires_grad_(False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    one = tuner(model)
    epochs = [*one.run()]
    assert [epoch.number for epoch in epochs] == [*range(7)]
    assert epochs[-1].held_out < epochs[0].held_out - 0.1
    assert mean_loss(model, chats(2), one.start) == min(epoch.held_out for epoch in epochs)
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_training_resumes_bit_for_bit(tmp_path: Path, steps: int) -> None:
    model = tiny_model().requires_grad_(False)
    whole, points = tuner(model), list[Point]()
    whole._on_step = lambda *_: points.append(whole.point)
    epochs = [*whole.run()]
    path = tmp_path / "point"
    write_point(path, points[steps - 1], "key")
    rest = tuner(model)
    rest.resume(read_point(path, "key"))
    assert [epoch.held_out for epoch in rest.run()] == [
        epoch.held_out for epoch in epochs[-len(epochs) + 1 + (steps - 1) // 2 :]
    ]
    assert rest.start.snapshot() == whole.start.snapshot()


def test_progress_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "point"
    write_point(path, tuner(tiny_model().requires_grad_(False)).point, "key")
    with pytest.raises(ProgressFileError, match="other data, options or weights"):
        read_point(path, "other")
    path.write_bytes(b"no safetensors")
    with pytest.raises(ProgressFileError, match="cannot be read"):
        read_point(path, "key")


def test_training_stops_when_the_held_out_loss_stops_falling() -> None:
    model = tiny_model().requires_grad_(False)
    # Held-out chats that nothing in the training helps.
    held_out = [Chat(array("i", [7, 11, 90, 200, 13, 55]), bytes([0, 0, 1, 1, 1, 1]))]
    one = Tuner(model, chats(), held_out, TuneOptions(epochs=40, batch=3, rate=0.5, patience=2))
    epochs: list[Epoch] = [*one.run()]
    assert len(epochs) < 41
    best = min(epochs, key=lambda epoch: epoch.held_out)
    assert mean_loss(model, held_out, one.start) == best.held_out
    assert epochs[-1].number == best.number + 2


def test_micro_batches_are_bounded_and_lose_no_chat() -> None:
    given = chats(40, 300) + chats(3, 3000)
    found = [*micro_batches(given)]
    assert sum(map(len, found)) == len(given)
    assert all(len(some) == 1 or len(some) * max(len(chat.ids) for chat in some) <= 2048 for some in found)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("cell", CELLS)
def test_a_quantised_checkpoint_is_tuned_through_its_dequantised_weights(
    tmp_path: Path, cell: str, bits: int
) -> None:
    tiny_checkpoint(tmp_path / "float", cell)
    quantize_checkpoint(tmp_path / "float", tmp_path / "small", bits, format_for(bits, None).group_size)
    one = tuner(frozen_model(tmp_path / "small"))
    epochs = [*one.run()]
    assert epochs[-1].held_out < epochs[0].held_out - 0.1
    serving = load_checkpoint(tmp_path / "small")
    [zeros, *_] = served_loss(serving, chats(2), None)
    [tuned, *_] = served_loss(serving, chats(2), one.start.snapshot())
    assert zeros.mean is not None
    assert tuned.mean is not None
    # Serving rounds activations to integers, which the trainer does not.
    assert tuned.mean == pytest.approx(epochs[-1].held_out, rel=0.02)
    assert tuned.mean < zeros.mean - 0.1


def test_bfloat16_weights_give_nearly_the_same_loss(tmp_path: Path) -> None:
    path = tiny_checkpoint(tmp_path / "float")
    losses = [
        mean_loss(frozen_model(path, dtype), chats(2), tuner(tiny_model()).start, narrow=dtype == "bfloat16")
        for dtype in ("float32", "bfloat16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_served_losses_are_parted_by_the_place_in_the_assistants_text() -> None:
    model = tiny_model()
    chat = chats(1, 1200)[0]
    spans = served_loss(model, [chat], None)
    assert [span.num_tokens for span in spans] == [end - begin for begin, end in SPANS]
    total = served_loss(model, [Chat(chat.ids[:1002], chat.is_target[:1002])], None)
    assert sum(span.loss for span in total) == pytest.approx(sum(span.loss for span in spans), rel=1e-9)
    assert served_loss(model, chats(1), None)[1].mean is None
