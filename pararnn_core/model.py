"""The language model: `logits` trains and is the reference, `forward` serves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pararnn_core import ops
from pararnn_core.cells.mode import HasMode, mode_named
from pararnn_core.config import ModelConfig
from pararnn_core.device import DeviceModel, NewtonReport
from pararnn_core.generate import generate
from pararnn_core.layers import Block, CausalConv1d, Linear, RMSNorm, compute_dtype, product
from pararnn_core.packed import PackedModel, PackingArena
from pararnn_core.quantized_matrix import QuantizedMatrix
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import RecurrentState, mismatch, state_parts


class Embedding(nn.Module):
    """A row per token; weight (V, d)."""

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
    """Built with freshly drawn float32 parameters; bfloat16 ones serve too, float64 ones only give `logits`.

    A packed model only serves: what needs the row-major matrices raises RuntimeError; so does training a
    quantised one.
    fingerprint: of the checkpoint that it was loaded from, if it was.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.quantization is not None:
            raise ValueError("config: a model is drawn in float, then quantised: quantization must be None")
        self.config = config
        self.fingerprint: str | None = None
        self.is_packed = False
        self._state_parts = state_parts(config)
        self._arena: PackingArena | None = None
        self._serving: PackedModel | DeviceModel | None = None
        self._serving_versions: list[tuple[int, int]] = []
        self.register_state_dict_pre_hook(_refuse_packed_state_dict)  # type: ignore[no-untyped-call]  # torch's
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        if not config.tie_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal(0, 0.02), by sqrt(2 L) less for what adds to the residual stream. Cells draw their own."""
        for module in self.modules():
            if isinstance(module, (Linear, Embedding)):
                nn.init.normal_(module.get_parameter("weight"), std=0.02)
            elif isinstance(module, CausalConv1d):
                bound = 1 / math.sqrt(module.weight.shape[1])
                nn.init.uniform_(module.weight, -bound, bound)
        for block in self.blocks:
            for linear in (block.out_proj, block.mlp.down_proj):
                nn.init.normal_(linear.get_parameter("weight"), std=0.02 / math.sqrt(2 * len(self.layers)))

    @property
    def device(self) -> torch.device:
        """Where all weights are."""
        return self.norm.weight.device

    def new_state(self, num_slots: int) -> RecurrentState:
        """A pool for `forward`, on the model's device."""
        return RecurrentState(self.config, num_slots, self.device)

    @property
    def blocks(self) -> list[Block]:
        """`layers`, typed."""
        return cast("list[Block]", list(self.layers))

    @property
    def mode(self) -> str:
        """The mode of `logits` in calls that name none. Setting it sets that of every cell.

        Where cells differ it is that of the first. `forward`, which serves, chooses by itself.
        """
        return self.blocks[0].cell.mode

    @mode.setter
    def mode(self, name: str) -> None:
        mode = mode_named(name)
        for block in self.blocks:
            block.cell.mode = mode

    def hidden(self, tokens: Tensor, mode: str | None = None) -> Tensor:
        """tokens (B, T), whole sequences from zero states -> final normalised rows (B, T, d)."""
        self._refuse_packed("logits")
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, mode)
        normed: Tensor = self.norm(x)
        return normed

    def logits(self, tokens: Tensor, mode: str | None = None) -> Tensor:
        """tokens (B, T), whole sequences from zero states -> (B, T, V); differentiable, torch products.

        mode: as of a cell; None is `self.mode`.
        """
        hidden = self.hidden(tokens, mode)
        weight = self.embedding.weight if self.config.tie_embeddings else self.lm_head.weight
        return product(hidden, weight)

    def forward(
        self,
        tokens: Tensor,
        cu_seqlens: Tensor,
        slots: Tensor,
        state: RecurrentState,
        has_initial_state: Tensor | None = None,
        logits_indices: Tensor | None = None,
        stage_seconds: Tensor | None = None,
    ) -> Tensor:
        """One packed batch of prefill chunks and decodes; `state` moves on in place by slot.

        tokens (T,) int32 or int64; cu_seqlens (S+1,) int32; slots (S,) int32, each once, -1 to skip a
        sequence (its logits mean nothing); has_initial_state (S,) bool, False starts from zeros whatever the
        slot holds, default all True; logits_indices (M,) rows of tokens, default the last of each sequence;
        stage_seconds (len(ops.STEP_STAGES),) float64, the time spent on each is added to it.
        Returns logits (M, V) float32. Raises ValueError naming the argument, before any state is touched.
        """
        form = self._form()
        if state.parts != self._state_parts:
            raise ValueError(f"state: {mismatch(state.parts, self._state_parts)}")
        return form.step(
            tokens.contiguous(),
            cu_seqlens.contiguous(),
            slots.contiguous(),
            None if has_initial_state is None else has_initial_state.contiguous(),
            None if logits_indices is None else logits_indices.contiguous(),
            state,
            stage_seconds,
        )

    @torch.inference_mode()
    def head(self, last_hidden: Tensor) -> Tensor:
        """last_hidden (M, d) float32 as `forward` left it -> logits (M, V), bit-equal to `forward`'s."""
        shape, d = tuple(last_hidden.shape), self.config.hidden_size
        if shape != (len(last_hidden), d) or last_hidden.dtype != torch.float32:
            raise ValueError(f"last_hidden must be (M, {d}) float32, got {shape} {last_hidden.dtype}")
        return self._form().head_logits(last_hidden)

    def generate(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        state: RecurrentState | None = None,
        slot: int = 0,
    ) -> Iterator[int]:
        """Token ids of one reply, as `pararnn_core.generate.generate` describes."""
        return generate(self, prompt_ids, params, state, slot)

    def pack(self) -> ParaRNNForCausalLM:
        """Serving form, for good. On a CPU each matrix is packed for this machine, dropping its row-major
        copy; elsewhere the matrices serve as they are.
        """
        return self if self.is_packed else self.serve_with(self._build_serving_form(release=True))

    def serve_with(self, form: PackedModel | DeviceModel) -> ParaRNNForCausalLM:
        """From now on, for good, `forward` runs this form, made of this model's modules."""
        self._serving = form
        self.is_packed = True
        return self

    def pack_what_is_set(self) -> None:
        """From now on `set_weight` packs each matrix and drops it, `pack` the rest.

        Every matrix must have its shape and type by now, without memory on the meta device.
        """
        self._arena = self._new_arena(release=True)

    @property
    def weight_bytes(self) -> int:
        """Of the matrices in the form in which `forward` reads them."""
        return self._form().nbytes

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor under its name in a checkpoint, bit for bit as loaded, from a packed model too."""
        for name, parameter in self.named_parameters():
            yield name, parameter.detach()
        for name, matrix in self.quantized_matrices():
            yield from matrix.stored(name)
        if self.is_packed and isinstance(self._serving, PackedModel):
            for name, packed in self._serving.matrices():
                weight = ops.unpack(packed)
                if isinstance(weight, QuantizedMatrix):
                    yield from weight.stored(name)
                else:
                    yield name, weight

    def quantized_matrices(self) -> Iterator[tuple[str, QuantizedMatrix]]:
        """Row-major ones, by the names of the parameters in whose place they are."""
        for prefix, module in self.named_modules():
            for leaf, value in vars(module).items():
                if isinstance(value, QuantizedMatrix):
                    yield f"{prefix}.{leaf}", value

    def set_weight(self, name: str, weight: Tensor | QuantizedMatrix) -> None:
        """Puts a weight in the place of the parameter `name`; config.quantization is the caller's to set."""
        path, _, leaf = name.rpartition(".")
        module = self.get_submodule(path)
        if isinstance(weight, QuantizedMatrix):
            delattr(module, leaf)
            setattr(module, leaf, weight)
        else:
            trains = self.config.quantization is None
            setattr(module, leaf, nn.Parameter(weight, requires_grad=trains))
        if self._arena is not None and self._arena.holds(module, leaf):
            self._arena.pack(module)

    def train(self, mode: bool = True) -> ParaRNNForCausalLM:
        """As of nn.Module; also frees what `forward` packed for itself."""
        if mode:
            self._refuse_quantized("training")
        if not self.is_packed:
            self._serving = None
        return super().train(mode)

    def serving_form(self) -> PackedModel:
        """What `forward` runs on a CPU. RuntimeError for a model that is elsewhere."""
        form = self._form()
        if not isinstance(form, PackedModel):
            raise RuntimeError(f"this model serves on {form.device}, where nothing is packed")
        return form

    def wait(self) -> None:
        """Until the model's device has done all that it was asked for. On a CPU that is always so."""
        form = self._form()
        if isinstance(form, DeviceModel):
            form.wait()

    def capture_decodes(self, state: RecurrentState) -> None:
        """From now on decodes of this pool, and of no other, run as CUDA graphs. Nothing on a CPU."""
        form = self._form()
        if isinstance(form, DeviceModel):
            form.capture_decodes(state)

    def decodes_ahead(self, state: RecurrentState, count: int) -> bool:
        """Whether `decode_ahead` takes so many sequences of the pool. Never on a CPU."""
        form = self._form()
        return isinstance(form, DeviceModel) and form.decodes_ahead(state, count)

    def decode_ahead(self, ids: Tensor, slots: Tensor, state: RecurrentState) -> Tensor:
        """`forward` of one token a sequence, as of DeviceModel."""
        form = self._form()
        if not isinstance(form, DeviceModel):
            raise ValueError("on a CPU nothing is ahead of the host")
        return form.decode_ahead(ids, slots, state)

    def take_newton_report(self) -> NewtonReport | None:
        """How Newton went in `forward` since the last call; None if it solved nothing.

        Waits for the device.
        """
        form = self._form()
        return form.take_newton_report() if isinstance(form, DeviceModel) else None

    def _form(self) -> PackedModel | DeviceModel:
        """That of an unpacked model is kept until a parameter changes."""
        if self.is_packed and self._serving is not None:
            return self._serving
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
                    f"serving needs float32 or bfloat16 weights on cpu or cuda, {name} is {parameter.dtype} "
                    f"on {parameter.device}; `logits` takes the others"
                )
            if parameter.device != device:
                raise ValueError(f"serving needs weights on one device, {name} is not on {device}")
        self._state_parts = state_parts(self.config, self.config.activation_dtype_on(device.type))
        arena, self._arena = self._arena, None
        parts = (self.config, self.embedding, self.blocks, self.norm, self._own_head)
        if device.type != "cpu":
            return DeviceModel(*parts)
        with torch.inference_mode():
            return PackedModel(*parts, arena or self._new_arena(release))

    def _refuse_packed(self, what: str) -> None:
        if self.is_packed:
            raise RuntimeError(
                f"{what} needs row-major weights, but this model is packed for serving: load with pack=False"
            )

    def _refuse_quantized(self, what: str) -> None:
        if self.config.quantization is not None:
            raise RuntimeError(
                f"{what} needs float weights, but this model is quantised: load what it was made from"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._refuse_packed("moving or casting")
        self._refuse_quantized("moving or casting")
        # It exchanges the data below parameters, which keep identity and version.
        self._serving = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it so


def _refuse_packed_state_dict(module: nn.Module, *_: Any) -> None:
    model = cast("ParaRNNForCausalLM", module)
    model._refuse_packed("state_dict")
    model._refuse_quantized("state_dict")
