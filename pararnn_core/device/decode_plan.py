"""Plans of decodes, padded to a fixed number of sequences. Most of a plan is the same at every step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pararnn_core.device.arguments import StepArguments
from pararnn_core.device.plan import StepInputs, StepPlan, plan_step
from pararnn_core.state.state import PAD_SLOT_ID


class DecodePlanner:
    """A faster plan_step for steps with one token in each sequence."""

    def __init__(self, bitmap_bytes: int) -> None:
        """bitmap_bytes: bytes of one slot's `seen` bitmap."""
        self._bitmap_bytes = bitmap_bytes
        self._templates: dict[int, StepPlan] = {}

    def plan(self, decode: StepArguments, count: int) -> StepPlan | None:
        """Return the plan of a decode, padded to `count` sequences; None if all of them are skipped."""
        given = len(decode.slots)
        slots = np.full(count, PAD_SLOT_ID, np.int32)
        slots[:given] = decode.slots
        real = slots != PAD_SLOT_ID
        first = real.argmax()
        if not real[first]:
            return None
        tokens = np.zeros(count, np.int64)
        tokens[:given] = decode.tokens
        template = self._template(count)
        stands_for = np.where(real, template.kept, first)
        homes = slots[stands_for].astype(np.int64)
        fed = tokens[stands_for]
        # Everything else depends on `count` alone, so a decode needs none of plan_step's sorting.
        return template._replace(
            tokens=tokens,
            homes=homes,
            last_rows=stands_for,
            seen_bytes=homes * self._bitmap_bytes + (fed >> 3),
            slots=slots,
            seen_bits=np.left_shift(1, fed & 7).astype(np.uint8),
            has_initial_state=decode.has_initial_state[stands_for],
        )

    def feed(self, inputs: StepInputs, ids: Tensor) -> None:
        """Write ids (S,), which are on the device, into a plan's inputs as the first sequences' tokens."""
        # A draw from logits that are not finite gives -1, which is no row of the embedding.
        inputs.tokens[: len(ids)] = ids.clamp(min=0)
        fed = inputs.tokens[inputs.last_rows]
        inputs.seen_bytes.copy_(inputs.homes * self._bitmap_bytes + (fed >> 3))
        inputs.seen_bits.copy_(torch.bitwise_left_shift(1, fed & 7))

    def _template(self, count: int) -> StepPlan:
        """Return the plan of `count` sequences in slots 0 to count - 1, made once."""
        if count not in self._templates:
            rows = np.arange(count)
            arguments = StepArguments(
                tokens=rows,
                cu_seqlens=np.arange(count + 1, dtype=np.int32),
                slots=rows.astype(np.int32),
                has_initial_state=np.ones(count, np.bool_),
                logits_indices=rows,
            )
            plan = plan_step(arguments, self._bitmap_bytes)
            if plan is None:
                raise ValueError(f"count must be at least 1, got {count}")
            self._templates[count] = plan
        return self._templates[count]
