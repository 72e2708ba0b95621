"""The language model. `logits` is for training and as the reference; `step` is for serving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pararnn_core import ops
from pararnn_core.cells.mode import HasMode, mode_named
from pararnn_core.models.base import NewtonReport
from pararnn_core.models.generate import generate
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.device_model import DeviceModel
from pararnn_core.models.pararnn.layers import (
    Block,
    CausalConv1d,
    Linear,
    RMSNorm,
    compute_dtype,
    norm_or_none,
    product,
)
from pararnn_core.models.pararnn.packed import PackedModel, PackingArena
from pararnn_core.models.pararnn.state_layout import state_parts
from pararnn_core.sampling.sampling_params import SamplingParams
from pararnn_core.state.state import RecurrentState, StateParts
from pararnn_core.weights.quantized_matrix import QuantizedMatrix


class Embedding(nn.Module):
    """An embedding of tokens; weight (V, d)."""

    weight: nn.Parameter | QuantizedMatrix

    def __init__(self, vocab_size: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, size))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (...) -> (..., d) float32, or float64 for a float64 weight."""
        if isinstance(self.weight, QuantizedMatrix):
            return self.weight.dequantize(tokens)
        return F.embedding(tokens, self.weight).to(compute_dtype(self.weight))


class ParaRNNForCausalLM(HasMode, nn.Module):
    """A ParaRNN language model. A new one has random float32 parameters.

    `step` and the other methods of ServingModel run a serving form. It is built at the first use, and again
    after a weight changed. It takes float32 and bfloat16 weights; a float64 model has only `logits`.
    A packed model only serves: methods that need row-major matrices raise RuntimeError. A quantised model
    cannot be trained either.
    fingerprint: that of its checkpoint; None if it was not loaded from one
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.quantization is not None:
            raise ValueError(
                "config: quantization must be None for a new model; quantise its float checkpoint instead"
            )
        self.config = config
        self.fingerprint: str | None = None
        self.is_packed = False
        self._arena: PackingArena | None = None
        self._serving: PackedModel | DeviceModel | None = None
        self._serving_versions: list[tuple[int, int]] = []
        # The state dict of a packed model would lack its matrices without an error.
        self.register_state_dict_pre_hook(_refuse_packed_state_dict)  # type: ignore[no-untyped-call]  # torch's
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm: RMSNorm = norm_or_none(config.sizes["n"], config)
        if not config.tie_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=config.head_bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights except those of cells from normal(0, 0.02).

        Matrices that add to the residual stream are smaller by sqrt(2 L). Convolutions are uniform.
        """
        for module in self.modules():
            if isinstance(module, (Linear, Embedding)):
                nn.init.normal_(module.get_parameter("weight"), std=0.02)
            elif isinstance(module, CausalConv1d):
                bound = 1 / math.sqrt(module.weight.shape[1])
                nn.init.uniform_(module.weight, -bound, bound)
        for block in self.blocks:
            for linear in (block.out_proj, None if block.mlp is None else block.mlp.down_proj):
                if linear is None:
                    continue
                nn.init.normal_(linear.get_parameter("weight"), std=0.02 / math.sqrt(2 * len(self.layers)))

    @property
    def device(self) -> torch.device:
        """The device of all weights."""
        return self.blocks[0].cell.b.device

    def new_state(self, num_slots: int) -> RecurrentState:
        """Return a new pool for `step`, on the model's device."""
        return RecurrentState(self.state_parts, num_slots, self.device)

    def step_bytes(self, num_tokens: int) -> int:
        """See ServingModel.step_bytes."""
        return self.serving_form().step_bytes(num_tokens)

    @property
    def hidden_size(self) -> int:
        """Numbers of a final row, which the head reads."""
        return self.config.hidden_size

    @property
    def state_parts(self) -> StateParts:
        """The layout of a session's state on the model's device."""
        return state_parts(self.config, self.config.activation_dtype_on(self.device.type))

    @property
    def blocks(self) -> list[Block]:
        """The modules of `layers` with their type."""
        return cast("list[Block]", list(self.layers))

    @property
    def mode(self) -> str:
        """The mode of `logits` in calls that pass none. Setting it sets the mode of every cell.

        If cells differ, it is the first one's mode. `step` chooses its solver by itself.
        """
        return self.blocks[0].cell.mode

    @mode.setter
    def mode(self, name: str) -> None:
        mode = mode_named(name)
        for block in self.blocks:
            block.cell.mode = mode

    def hidden(self, tokens: Tensor, mode: str | None = None) -> Tensor:
        """Return the final normalised rows (B, T, d) of tokens (B, T), whole sequences from zero states."""
        self._refuse_packed("logits")
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mode)
        return self.final_rows(x)

    def final_rows(self, x: Tensor) -> Tensor:
        """Return rows of the residual stream as the head reads them, normalised if the model has a norm."""
        normed: Tensor = x if self.norm is None else self.norm(x)
        return normed

    def logits(self, tokens: Tensor, mode: str | None = None) -> Tensor:
        """Return the logits (B, T, V) of tokens (B, T), whole sequences from zero states. Differentiable.

        mode: one of a cell's modes; None is `self.mode`
        """
        hidden = self.hidden(tokens, mode)
        if self.config.tie_embeddings:
            return product(hidden, self.embedding.weight)
        logits: Tensor = self.lm_head(hidden)
        return logits

    def step(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor,
        slots: Tensor,
        state: RecurrentState,
        has_initial_state: Tensor | None = None,
        logits_indices: Tensor | None = None,
        stage_seconds: Tensor | None = None,
        hidden_indices: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Run one packed batch, see ServingModel.step."""
        arguments = (tokens, cu_seqlens, slots, state, has_initial_state, logits_indices, stage_seconds)
        return self.serving_form().step(*arguments, hidden_indices, hidden)

    forward = step

    def head(self, state: RecurrentState, slots: Sequence[int]) -> Tensor:
        """Return logits (len(slots), V) after the last token of each slot, see ServingModel.head."""
        return self.serving_form().head(state, slots)

    def generate(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        state: RecurrentState | None = None,
        slot: int = 0,
    ) -> Iterator[int]:
        """Yield the token ids of one reply, see `pararnn_core.generate.generate`."""
        return generate(self, prompt_ids, params, state, slot)

    def pack(self) -> ParaRNNForCausalLM:
        """Turn the model into its serving form. It cannot be turned back.

        On a CPU each matrix is packed for this machine and its row-major copy is freed. On other devices the
        matrices do not change.
        """
        return self if self.is_packed else self.serve_with(self._build_serving_form(release=True))

    def serve_with(self, form: PackedModel | DeviceModel) -> ParaRNNForCausalLM:
        """Set the serving form, which must be made of this model's modules. It cannot be replaced."""
        self._serving = form
        self.is_packed = True
        return self

    def pack_what_is_set(self) -> None:
        """Make `set_weight` pack each matrix at once and free it; `pack` then packs the others.

        Every matrix must already have its shape and type, without memory on the meta device.
        """
        self._arena = self._new_arena(release=True)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the matrices in the form that `step` reads."""
        return self.serving_form().weight_bytes

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all tensors with their names in a checkpoint. A packed model yields the same bits."""
        for name, parameter in self.named_parameters():
            yield name, parameter.detach()
        for name, matrix in self.quantized_matrices():
            yield from matrix.stored(name)
        if self.is_packed:
            for name, packed in self.serving_form().matrices():
                weight = ops.unpack(packed)
                if isinstance(weight, QuantizedMatrix):
                    yield from weight.stored(name)
                else:
                    yield name, weight

    def quantized_matrices(self) -> Iterator[tuple[str, QuantizedMatrix]]:
        """Yield the quantised matrices that are not packed, with the names of their parameters."""
        for prefix, module in self.named_modules():
            for leaf, value in vars(module).items():
                if isinstance(value, QuantizedMatrix):
                    yield f"{prefix}.{leaf}", value

    def set_weight(self, name: str, weight: Tensor | QuantizedMatrix) -> None:
        """Replace the parameter `name` by a weight. The caller keeps config.quantization consistent."""
        path, _, leaf = name.rpartition(".")
        module = self.get_submodule(path)
        if isinstance(weight, QuantizedMatrix):
            # nn.Module refuses to assign anything but a parameter to the name of one.
            delattr(module, leaf)
            setattr(module, leaf, weight)
        else:
            trains = self.config.quantization is None
            setattr(module, leaf, nn.Parameter(weight, requires_grad=trains))
        if self._arena is not None and self._arena.holds(module, leaf):
            self._arena.pack(module)

    def train(self, mode: bool = True) -> ParaRNNForCausalLM:
        """Switch between training and evaluation, and free the serving form unless the model is packed."""
        if mode:
            self._refuse_quantized("training")
        if not self.is_packed:
            self._serving = None
        return super().train(mode)

    def wait(self) -> None:
        """See ServingModel.wait."""
        self.serving_form().wait()

    def capture_decodes(self, state: RecurrentState) -> None:
        """See ServingModel.capture_decodes."""
        self.serving_form().capture_decodes(state)

    def decodes_ahead(self, state: RecurrentState, count: int) -> bool:
        """See ServingModel.decodes_ahead."""
        return self.serving_form().decodes_ahead(state, count)

    def decode_ahead(self, ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        """See ServingModel.decode_ahead."""
        return self.serving_form().decode_ahead(ids, slots, state)

    def take_newton_report(self) -> NewtonReport | None:
        """See ServingModel.take_newton_report."""
        return self.serving_form().take_newton_report()

    def serving_form(self) -> PackedModel | DeviceModel:
        """Return the form that `step` runs. An unpacked model keeps it until a parameter changes."""
        # A packed model cannot change, so no step has to compare its parameters.
        if self.is_packed and self._serving is not None:
            return self._serving
        # An optimizer writes in place, so only the version shows it. Inference tensors have none.
        versions = [(id(p), 0 if p.is_inference() else p._version) for p in self.parameters()]
        if self._serving is None or versions != self._serving_versions:
            self._serving = self._build_serving_form(release=False)
            self._serving_versions = versions
        return self._serving

    @property
    def _own_head(self) -> Linear | None:
        return None if self.config.tie_embeddings else self.lm_head

    def _new_arena(self, release: bool) -> PackingArena:
        return PackingArena(self.embedding, self.blocks, self._own_head, release=release)

    def _build_serving_form(self, release: bool) -> PackedModel | DeviceModel:
        device = self.device
        for name, parameter in self.named_parameters():
            if parameter.dtype not in (torch.float32, torch.bfloat16) or device.type not in ("cpu", "cuda"):
                raise ValueError(
                    f"serving needs float32 or bfloat16 weights on cpu or cuda, but {name} is "
                    f"{parameter.dtype} on {parameter.device}; convert the model, or call `logits`"
                )
            if parameter.device != device:
                raise ValueError(f"serving needs all weights on one device, but {name} is not on {device}")
        arena, self._arena = self._arena, None
        parts = (self.config, self.embedding, self.blocks, self.norm, self._own_head)
        if device.type != "cpu":
            return DeviceModel(*parts, fingerprint=self.fingerprint)
        with torch.inference_mode():
            return PackedModel(*parts, arena or self._new_arena(release), self.fingerprint)

    def _refuse_packed(self, what: str) -> None:
        if self.is_packed:
            raise RuntimeError(
                f"{what} needs row-major weights, but this model is packed for serving: load with pack=False"
            )

    def _refuse_quantized(self, what: str) -> None:
        if self.config.quantization is not None:
            raise RuntimeError(
                f"{what} needs float weights, but this model is quantised: load its float checkpoint"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._refuse_packed("moving or casting")
        self._refuse_quantized("moving or casting")
        # It changes data below parameters, which keep identity and version: serving_form() would not notice.
        self._serving = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it so


def _refuse_packed_state_dict(module: nn.Module, *_: Any) -> None:
    model = cast("ParaRNNForCausalLM", module)
    model._refuse_packed("state_dict")
    model._refuse_quantized("state_dict")
