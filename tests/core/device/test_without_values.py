"""A step runs on tensors that have no values, so none of it waits for a device to learn one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pararnn_core.device.arguments import check_arguments
from pararnn_core.device.plan import StepInputs, plan_step
from pararnn_core.models.pararnn.device_model import DeviceModel
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from tests.core.device.models import VARIANTS, TorchNewton
from tests.fixtures import TINY_VOCAB_SIZE, tiny_model
from tests.quantized_fixtures import tiny_quantized_model

META = torch.device("meta")


def unsolved(
    cell: str, bx: Tensor, a: Tensor, c: Tensor | None, cu_seqlens: Tensor, *state: Tensor | None
) -> Tensor:
    """Replace a kernel. Like a kernel, it reads no values on the host."""
    assert bx.is_contiguous()
    assert a.is_contiguous()
    return bx.new_empty(bx.shape[0], bx.shape[2], dtype=torch.float32)


def inputs_without_values(model: ParaRNNForCausalLM) -> StepInputs:
    arguments = check_arguments(
        torch.tensor([1, 2, 3, 4]),
        torch.tensor([0, 3, 4], dtype=torch.int32),
        torch.tensor([2, -1], dtype=torch.int32),
        torch.tensor([False, True]),
        None,
        TINY_VOCAB_SIZE,
        3,
    )
    plan = plan_step(arguments, (TINY_VOCAB_SIZE + 7) // 8)
    assert plan is not None
    return StepInputs(*(tensor.to(META) for tensor in plan.on(torch.device("cpu"))))


def logits_without_values(model: ParaRNNForCausalLM) -> Tensor:
    state = model.new_state(3)
    state._tensors = {part.name: state[part.name].to(META) for part in state.parts}
    inputs = inputs_without_values(model)
    for name, weight in list(model.named_parameters()):
        model.set_weight(name, weight.detach().to(META))
    for name, matrix in list(model.quantized_matrices()):
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, matrix.to(META))
    head = None if model.config.tie_embeddings else model.lm_head
    form = DeviceModel(model.config, model.embedding, model.blocks, model.norm, head, TorchNewton())
    return form.run(inputs, state, unsolved)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_step_needs_no_value_of_the_device(variant: str, dtype: str) -> None:
    over: dict[str, Any] = {**VARIANTS[variant], "dtype": dtype}
    assert logits_without_values(tiny_model(**over)).shape == (2, TINY_VOCAB_SIZE)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_step_of_quantised_matrices_needs_no_value_of_the_device(cell: str) -> None:
    assert logits_without_values(tiny_quantized_model(cell)).shape == (2, TINY_VOCAB_SIZE)
