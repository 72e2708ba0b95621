"""Threads change neither bits nor the caller's floating-point mode, and calls may overlap."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from pararnn_core import ops
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.kernels import reference
from tests.kernels.reference import normal, random_quantized

WIDTH = 200
LENGTHS = (40, 1, 0, 90, 7)
TINY = 1e-39  # a denormal: the mode of a thread decides what becomes of it


def blocks(generator: torch.Generator, rows: int, inputs: int) -> Tensor:
    """Return blocks of 2 heads and 3 gates."""
    return normal(generator, 2, inputs, 3, rows // 6)


WEIGHTS: dict[str, Callable[[torch.Generator, int, int], Tensor | QuantizedMatrix]] = {
    "float32": blocks,
    "bfloat16": lambda *shape: blocks(*shape).bfloat16(),
    "int8": lambda *shape: random_quantized(*shape, bits=8, group_size=32),
    "int4": lambda *shape: random_quantized(*shape, bits=4, group_size=32),
}


class Work:
    """One call of every operation that splits its work, on inputs with denormals."""

    def __init__(self, generator: torch.Generator) -> None:
        tokens = sum(LENGTHS)
        self.x = normal(generator, tokens, WIDTH)
        self.x[::3] *= TINY
        self.weight = normal(generator, 3 * WIDTH, WIDTH)
        self.packed = ops.pack(self.weight)
        self.narrow = ops.pack(self.weight.to(torch.bfloat16))
        self.integers = [ops.pack(random_quantized(generator, 70, WIDTH, bits, 64)) for bits in (8, 4)]
        self.taps = normal(generator, WIDTH, 4)
        self.a, self.c = normal(generator, 3, WIDTH), normal(generator, 2, WIDTH)
        self.slots = torch.arange(len(LENGTHS), dtype=torch.int32)
        self.held = torch.ones(len(LENGTHS), dtype=torch.bool)
        self.conv_state = normal(generator, len(LENGTHS), 3, WIDTH)
        self.initial = normal(generator, len(LENGTHS), 2, WIDTH)
        self.cu_seqlens = reference.cu_seqlens(LENGTHS)

    def run(self) -> list[Tensor]:
        state, tail = self.initial.clone(), self.conv_state.clone()
        v = ops.causal_conv1d_(self.x, self.taps, None, "silu", self.cu_seqlens, self.slots, self.held, tail)
        bx = ops.linear(v, self.packed)
        gates = bx.view(-1, 3, WIDTH)
        y = ops.recurrence_("lstm", gates, self.a, self.c, self.cu_seqlens, self.slots, self.held, state)
        gated = ops.gated_rms_norm(y, self.x, self.taps[:, 0].contiguous(), 1e-6, "gate_then_norm")
        return [
            tail,
            state,
            v,
            bx,
            y,
            gated,
            ops.linear(gated, self.narrow),
            *self.products(gated),
            *self.gradients(gates),
        ]

    def products(self, x: Tensor) -> list[Tensor]:
        return [ops.linear(x, packed) for packed in self.integers]

    def gradients(self, gates: Tensor) -> tuple[Tensor, ...]:
        leaves = [x.detach().requires_grad_() for x in (gates, self.a, self.c, self.initial)]
        states = ops.recurrence("lstm", *leaves, self.cu_seqlens)
        return torch.autograd.grad(states.square().sum(), leaves)


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.usefixtures("restored_threads")
def test_thread_count_does_not_change_bits(generator: torch.Generator) -> None:
    work = Work(generator)
    ops.set_num_threads(1)
    alone = work.run()
    assert not any(x.isnan().any() for x in alone)
    for threads in (2, 3, 4):
        ops.set_num_threads(threads)
        assert ops.num_threads() == threads
        assert all(equal(work.run(), alone) for _ in range(5)), threads


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("inputs", [35, 300])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_a_product_has_the_same_bits_in_every_batch_at_any_number_of_threads(
    generator: torch.Generator, kind: str, inputs: int
) -> None:
    packed = ops.pack(WEIGHTS[kind](generator, 2 * 3 * 100, inputs), heads=2, gates=3)
    x, bias = normal(generator, 70, 2 * inputs), normal(generator, 3, 200)
    ops.set_num_threads(1)
    alone = torch.cat([ops.linear(row[None], packed, bias) for row in x])
    for threads in (1, 2, 3, 4):
        ops.set_num_threads(threads)
        for rows in range(1, 71):
            assert torch.equal(ops.linear(x[-rows:], packed, bias), alone[-rows:]), (threads, rows)


@pytest.mark.usefixtures("restored_threads")
def test_calls_from_two_python_threads_may_overlap(generator: torch.Generator) -> None:
    work = Work(generator)
    ops.set_num_threads(2)
    alone = work.run()
    with ThreadPoolExecutor(4) as executor:
        results = list(executor.map(lambda _: work.run(), range(40)))
    assert all(equal(result, alone) for result in results)


@pytest.mark.parametrize("flush", [False, True])
def test_callers_float_mode_is_ignored_and_given_back(generator: torch.Generator, flush: bool) -> None:
    work = Work(generator)
    expected = work.run()
    tiny = torch.tensor([TINY])
    assert torch.set_flush_denormal(flush)
    try:
        assert equal(work.run(), expected)
        assert (float(tiny * 0.5) == 0.0) == flush
    finally:
        torch.set_flush_denormal(False)


FORK = """
import os, torch
from pararnn_core import ops
ops.set_num_threads(3)
packed, x = ops.pack(torch.randn(400, 100)), torch.randn(50, 100)
want = ops.linear(x, packed)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(ops.linear(x, packed), want) else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert torch.equal(ops.linear(x, packed), want)
raise SystemExit(code)
"""


FEW_THREADS = """
import resource, torch
from pathlib import Path
from pararnn_core import ops
ops.set_num_threads(1)
packed, x = ops.pack(torch.randn(400, 100)), torch.randn(50, 100)
want = ops.linear(x, packed)
ops.set_num_threads(1024)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
assert torch.equal(ops.linear(x, packed), want)
assert 1 <= ops.num_threads() < 1024, ops.num_threads()
"""


def run_script(script: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=environment, check=True, timeout=120)


def test_a_forked_child_computes_the_same() -> None:
    run_script(FORK)


def test_fewer_threads_do_where_the_system_has_no_more() -> None:
    run_script(FEW_THREADS)
