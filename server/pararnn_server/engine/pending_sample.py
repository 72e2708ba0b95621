"""Ids of a step on their way from the device to the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pararnn_core.ops.devices import on_device
from pararnn_core.sampling.sampler import Sampled, rows_logprobs
from pararnn_server.engine.batch import Draw


class PendingSample:
    """Sampled ids that the host has not read yet.

    ids: (M,) on the device, drawn for `draws`, in `slots`, from their rows of `logits`.
    """

    def __init__(self, draws: Sequence[Draw], logits: Tensor, ids: Tensor) -> None:
        self.draws = draws
        self.slots = frozenset(draw.choice.slot for draw in draws)
        self.ids = ids
        self._scored = [i for i, draw in enumerate(draws) if draw.running.request.params.logprobs is not None]
        # All copies start here, ahead of whatever else the device gets to do.
        self._ids = _copy_to_host(ids)
        self._rows = _copy_to_host(_rows_of(logits, [draws[i].row for i in self._scored]))
        self._is_done = None
        if ids.is_cuda:
            # Waiting for the stream instead would wait for the next step too.
            self._is_done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's
            self._is_done.record()

    @property
    def request_ids(self) -> set[str]:
        """Requests that the ids are drawn for."""
        return {draw.running.id for draw in self.draws}

    def read(self) -> list[Sampled | None]:
        """Return the ids with the requested log-probabilities; None where a row of logits is not finite.

        Waits for the device.
        """
        if self._is_done is not None:
            self._is_done.synchronize()
        tokens = self._ids.tolist()
        sampled: list[Sampled | None] = [None if token < 0 else Sampled(token) for token in tokens]
        places = [(row, i) for row, i in enumerate(self._scored) if tokens[i] >= 0]
        if places:
            top_counts = [self.draws[i].running.request.params.logprobs or 0 for _, i in places]
            rows, targets = [row for row, _ in places], [tokens[i] for _, i in places]
            found = rows_logprobs(self._rows, rows, targets, top_counts)
            for (_, i), one in zip(places, found, strict=True):
                sampled[i] = one
        return sampled


def _rows_of(logits: Tensor, rows: list[int]) -> Tensor:
    return logits[:0] if not rows else logits.index_select(0, on_device(torch.tensor(rows), logits.device))


def _copy_to_host(tensor: Tensor) -> Tensor:
    """Start a copy to the host, which is complete once the device gets there."""
    if not tensor.is_cuda:
        return tensor
    # Pinned: a copy to other memory would wait for the device.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
