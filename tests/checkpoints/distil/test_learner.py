import pytest
import torch
from torch.nn import functional as F

from checkpoints.distil.kl import CHUNK_ROWS, divergence, kl_gradient
from checkpoints.distil.layers import PLAIN, compiled_layers, mix, native_mix
from checkpoints.distil.learner import Learner
from checkpoints.distil.student import is_mixer, mixer_parameters
from pararnn_core.ops.library import native
from pararnn_core.training.forward import has_compiler
from tests.checkpoints.distil.tiny import SIZES, tiny_batches, tiny_learner


def losses(learner: Learner, stage: str, steps: int) -> list[float]:
    batch = tiny_batches().batch(0)
    trained = [p for p in learner.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    found = []
    for _ in range(steps):
        if stage == "align":
            errors = learner.align_step(batch)
            found.append(sum(errors) / len(errors))
        else:
            learner.distil_step(batch)
            found.append(learner.measure(batch).kl)
        optimizer.step()
        optimizer.zero_grad()
    return found


@pytest.mark.parametrize("stage", ["align", "distil"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_steps_of_a_stage_lower_its_loss(cell: str, stage: str) -> None:
    learner = tiny_learner(cell)
    learner.start(tiny_batches().batch(0).inputs)
    first, *_, last = losses(learner, stage, steps=8)
    assert last < 0.9 * first


def test_a_mixer_learns_from_its_own_error_alone() -> None:
    learner = tiny_learner()
    batch = tiny_batches().batch(0)
    learner.align_step(batch)
    alone = [p.grad.clone() for p in learner.model.blocks[1].parameters() if p.grad is not None]
    learner.model.zero_grad()
    with torch.no_grad():
        for parameter in learner.model.blocks[0].parameters():
            if parameter.requires_grad:
                parameter.mul_(0.5)
    learner.align_step(batch)
    again = [p.grad for p in learner.model.blocks[1].parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_what_is_compiled_of_a_mixer_equals_the_mixer(cell: str) -> None:
    learner = tiny_learner(cell)
    native()
    u = torch.randn(3, 16, SIZES.hidden_size)
    found = []
    for form in (mix, native_mix):
        learner.model.zero_grad()
        y = form(learner.model.blocks[0], u, torch.float32)
        y.square().sum().backward()  # type: ignore[no-untyped-call]  # torch declares it without types
        gradients = [p.grad for p in learner.model.blocks[0].parameters() if p.grad is not None]
        found.append([y.detach(), *gradients])
    assert len(found[0]) == 1 + sum(is_mixer(f".{n}") for n, _ in learner.model.blocks[0].named_parameters())
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found, strict=True))


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # torch warns of itself as it compiles
@pytest.mark.skipif(not has_compiler(), reason="needs the native library and a C++ compiler")
@pytest.mark.parametrize("stage", ["align", "distil"])
def test_compiled_steps_equal_plain_ones(stage: str) -> None:
    batch = tiny_batches().batch(0)
    found = []
    for layers in (PLAIN, compiled_layers()):
        learner = tiny_learner()
        learner.teacher.layers = layers
        learner.align_step(batch) if stage == "align" else learner.distil_step(batch)
        found.append([p.grad for p in learner.model.parameters() if p.grad is not None])
    assert len(found[0]) == len(list(mixer_parameters(tiny_learner().model)))
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("rows", [3, CHUNK_ROWS + 3])
def test_divergence_and_its_gradient_are_those_of_torch(rows: int) -> None:
    student, teacher, head = (
        torch.randn(rows, 8, requires_grad=True),
        torch.randn(rows, 8),
        torch.randn(30, 8),
    )
    targets = torch.randint(0, 30, (rows,))
    log_q, log_p = (F.linear(x, head).log_softmax(-1) for x in (student, teacher))
    kl = F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    kl.backward()  # type: ignore[no-untyped-call]  # torch declares it without types
    found = divergence(student.detach(), teacher, head, targets)
    assert found.kl == pytest.approx(float(kl.detach()), rel=1e-4)
    assert found.student == pytest.approx(float(F.nll_loss(log_q, targets).detach()), rel=1e-4)
    assert found.teacher == pytest.approx(float(F.nll_loss(log_p, targets)), rel=1e-4)
    assert torch.allclose(kl_gradient(student.detach(), teacher, head), student.grad, atol=1e-6)
