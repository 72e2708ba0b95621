"""The bits of the shipped models, of their sessions and of their exports, as short hashes.

`python -m tests.golden_bits LEVEL ...` prints those at these instruction set levels, and with `--remake` it
writes those of every level of this machine to tests/golden/bits.json. Remake that file only where bits shall
change.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from pararnn_server.access.owner import Owner
from pararnn_server.sessions.import_export import export
from pararnn_server.sessions.ledger import Ledger
from pararnn_server.sessions.model_kind import ModelKind
from pararnn_server.sessions.policy import SessionPolicy
from pararnn_server.sessions.state_reader import StateReader
from pararnn_server.sessions.steps import finish
from pararnn_server.sessions.stores.sqlite_store import SqliteStore
from pararnn_server.sessions.turn import Turn, TurnResult
from pararnn_server.sessions.turns import EndingTurn, begin_turn, commit_turns

from pararnn_core import ops
from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.checkpoint.checkpoint_directory import empty_model
from pararnn_core.generate import generate
from pararnn_core.models.pararnn.config import ModelConfig
from pararnn_core.models.pararnn.layer_tensors import matrix_sizes, parameter_shapes
from pararnn_core.models.pararnn.model import ParaRNNForCausalLM
from pararnn_core.models.pararnn.quantization_config import MatrixFormat, QuantizationConfig, matrix_names
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.state import RecurrentState, StateSnapshot
from pararnn_core.weights.quantized_matrix import QuantizedMatrix
from tests.server.metrics_fixtures import new_metrics

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "tests" / "golden" / "bits.json"
SHIPPED = sorted(file.parent for file in (ROOT / "checkpoints").glob("*/config.json"))
MADE: dict[str, tuple[str, QuantizationConfig | None]] = {
    "bf16 gru": ("gru", None),
    "bf16 lstm": ("lstm", None),
    "int8 lstm": ("lstm", QuantizationConfig("round", 8, 64)),
    "int4 gru": ("gru", QuantizationConfig("round", 4, 32)),
    "mixed lstm": (
        "lstm",
        QuantizationConfig("round", 4, 16, (("embedding.weight", MatrixFormat(8, 32)),)),
    ),
}
"""Models without a checkpoint."""
SESSION, OWNER, TIME = f"sess_{0:032x}", Owner("golden"), 1_000_000.0
PROMPT = (65, 700, 3001, 12, 12, 999, 4000, 5, 77, 2048, 31)
SAMPLED = SamplingParams(
    max_tokens=16,
    temperature=0.9,
    top_k=50,
    top_p=0.95,
    min_p=0.01,
    repetition_penalty=1.1,
    presence_penalty=0.2,
    frequency_penalty=0.3,
    logit_bias={17: 1.5},
    seed=11,
    ignore_eos=True,
)
GREEDY = SamplingParams(max_tokens=16, temperature=0.0, ignore_eos=True)

Bits = dict[str, dict[str, str]]
"""Hashes by name, of each shipped checkpoint and of the cells."""


def levels() -> dict[str, Bits]:
    """The committed bits, by instruction set level."""
    found: dict[str, Bits] = json.loads(FILE.read_text())
    return found


def bits_at(wanted: Sequence[str]) -> dict[str, Bits]:
    """Compute the bits at levels that this machine has, each in a process of its own."""
    command = [sys.executable, "-m", "tests.golden_bits", *wanted]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    found: dict[str, Bits] = json.loads(done.stdout)
    return found


def _in_forks(wanted: Sequence[str]) -> dict[str, Bits]:
    """Fork once all is imported, which takes longest. The library reads its level at its first use."""
    context = multiprocessing.get_context("fork")
    ends = {}
    for level in wanted:
        ends[level], theirs = context.Pipe(duplex=False)
        context.Process(target=_send_bits, args=(level, theirs)).start()
        theirs.close()
    return {level: end.recv() for level, end in ends.items()}


def _send_bits(level: str, end: Connection) -> None:
    os.environ["PARARNN_ISA"] = level
    end.send(bits())


def bits() -> Bits:
    """Compute the bits of this process."""
    made = {name: _made_of_numbers(name) for name in MADE}
    models = made | {folder.name: load_checkpoint(folder) for folder in SHIPPED}
    return {"cells": dict(_of_cells())} | {name: dict(_of_model(model)) for name, model in models.items()}


def _hash(*parts: Any) -> str:
    """Hash tensors by their bytes and all else by its text."""
    digest = hashlib.sha256()
    for part in parts:
        tensor = part.contiguous().view(torch.uint8) if isinstance(part, torch.Tensor) else None
        digest.update(repr(part).encode() if tensor is None else tensor.numpy().data)
    return digest.hexdigest()[:16]


def _numbers(*shape: int, salt: int, scale: float = 1.0) -> torch.Tensor:
    """The same floats in every version of torch, between -scale and scale."""
    count = torch.arange(torch.Size(shape).numel())
    return (((count + salt) * 7919 % 2003 - 1001) * (scale / 1001)).float().view(shape)


def _made_of_numbers(name: str) -> ParaRNNForCausalLM:
    """A model in a format that is served, whose weights no generator draws."""
    cell, quantization = MADE[name]
    config = ModelConfig(
        cell=cell, vocab_size=4096, hidden_size=48, num_hidden_layers=2, num_heads=3, intermediate_size=80
    )
    dtype = "float32" if quantization else "bfloat16"
    model = empty_model(replace(config, quantization=quantization, dtype=dtype))
    shapes = parameter_shapes(config.sizes, config.num_hidden_layers, config.tie_embeddings)
    matrices = set(matrix_names(config.num_hidden_layers, config.tie_embeddings))
    for salt, (parameter, shape) in enumerate(shapes.items()):
        if quantization is None:
            model.set_weight(parameter, (_numbers(*shape, salt=salt) / 2).bfloat16())
        elif parameter in matrices:
            its, sizes = quantization.format_of(parameter), matrix_sizes(shape)
            values = (_numbers(sizes.rows, sizes.inputs, salt=salt) * 7).round()
            scales = _numbers(sizes.rows, -(-sizes.inputs // its.group_size), salt=salt).abs() / 32 + 0.01
            matrix = QuantizedMatrix.from_values(values, scales.bfloat16(), its.bits, its.group_size)
            model.set_weight(parameter, matrix)
        else:
            model.set_weight(parameter, _numbers(*shape, salt=salt) / 2)
    return model.eval().pack()


def _of_cells() -> Iterator[tuple[str, str]]:
    cu_seqlens = torch.tensor([0, 1, 1, 40], dtype=torch.int32)
    for cell, (gates, states, peepholes, recurrent) in ops.native_cells().items():
        bx, a = _numbers(40, gates, 37, salt=1, scale=3), _numbers(recurrent, 37, salt=2, scale=0.5)
        c = _numbers(peepholes, 37, salt=3, scale=0.5) if peepholes else None
        initial = _numbers(3, states, 37, salt=4)
        solved = ops.recurrence(cell, bx, a, c, initial, cu_seqlens)
        loss = _numbers(40, states, 37, salt=5)
        gradients = ops.recurrence_backward(cell, loss, solved, bx, a, c, initial, cu_seqlens)
        yield f"{cell} states", _hash(solved)
        yield f"{cell} gradients", _hash(*gradients)


def _of_model(model: ParaRNNForCausalLM) -> Iterator[tuple[str, str]]:
    yield "fingerprint", str(model.fingerprint)[:16]
    yield "parameters", str(model.config.num_parameters)
    yield (
        "weights",
        _hash(*(part for name, weight in sorted(model.weights()) for part in (name, weight.shape, weight))),
    )
    pool = model.new_state(4)
    logits = list(_steps(model, pool))
    yield "logits", _hash(*logits)
    yield "head", _hash(model.head(pool, [2]))
    snapshots = [pool.snapshot(slot) for slot in range(4)]
    yield "states", _hash(*(snapshot.buffer for snapshot in snapshots))
    for name, params in (("greedy", GREEDY), ("sampled", SAMPLED)):
        tokens = list(generate(model, PROMPT, params, pool, 1))
        yield f"{name} tokens", _hash(tokens)
        yield f"{name} state", _hash(pool.snapshot(1).buffer)
    yield from _of_session(model, snapshots)


def _steps(model: ParaRNNForCausalLM, pool: RecurrentState) -> Iterator[torch.Tensor]:
    """Packed batches: prompts alone and beside decodes, in chunks, new and resumed, one of them skipped."""
    for slots, lengths, resumed, rows in (
        ((0,), (130,), (False,), (0, 64, 129)),
        ((2, 1, -1, 0), (7, 40, 3, 1), (False, False, True, True), (6, 46, 50)),
        ((1, 0, 2), (1, 1, 1), (True, True, True), (0, 1, 2)),
        ((3, 1), (2, 300), (False, True), (301,)),
    ):
        ids = (torch.arange(sum(lengths)) * 1237 + 31 * len(slots)) % model.config.vocab_size
        starts = torch.tensor([0, *lengths]).cumsum(0).int()
        where = torch.tensor(slots, dtype=torch.int32)
        yield model.forward(ids, starts, where, pool, torch.tensor(resumed), torch.tensor(rows))


def _of_session(model: ParaRNNForCausalLM, snapshots: list[StateSnapshot]) -> Iterator[tuple[str, str]]:
    kind = ModelKind("golden", model.config, str(model.fingerprint), "tokenizer", "build", model.state_parts)
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "sessions.sqlite")
        ledger = Ledger(store, kind, SessionPolicy(), new_metrics(), lambda: TIME)
        ledger.add(SESSION, ledger.new_record(OWNER, {"name": "golden"}, 3600.0), {}, None)
        for number, snapshot in enumerate(snapshots[:2]):
            turn = begin_turn(ledger, SESSION, OWNER, "request")
            assert isinstance(turn, Turn)
            result = TurnResult(PROMPT, snapshot, PROMPT[len(PROMPT) - number :], len(PROMPT), 0)
            commit_turns(ledger, [EndingTurn(ledger, turn, result, TIME, lambda outcome: None)])
        stored = ledger.find(SESSION, OWNER)
        head = store.load(SESSION)
        assert head is not None
        yield "stored session", _hash(head.head, *store.scan(SESSION, "").items())
        _expect(ledger.saved_state(stored, 2).snapshot == snapshots[1], "a stored state reads otherwise")
        file = finish(export(ledger, SESSION, OWNER, tokens=True)).encode()
        yield "exported session", _hash(file)
        reader = StateReader(kind, len(file))
        reader.feed(file)
        _expect(reader.finish().snapshot == snapshots[1], "an exported state reads otherwise")
        store.close()


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)


def differences(found: Bits, expected: Bits) -> Iterable[str]:
    """Name what is not the same."""
    for name in sorted(found.keys() | expected.keys()):
        here, there = found.get(name, {}), expected.get(name, {})
        yield from (
            f"{name}: {what}" for what in here.keys() | there.keys() if here.get(what) != there.get(what)
        )


def remake(known: Mapping[str, Bits]) -> None:
    """Write the file; levels that this machine lacks stay as they are."""
    made = {**known, **bits_at(ops.available_isa_levels())}
    FILE.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if "--remake" in sys.argv:
        remake(levels() if FILE.exists() else {})
    else:
        print(json.dumps(_in_forks(sys.argv[1:])))
