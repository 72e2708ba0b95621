import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from pararnn_core.checkpoint import (
    CheckpointError,
    load_checkpoint,
)
from tests.core.checkpoint.checkpoint_files import (
    edit_header,
    edit_json,
    edit_tensors,
    read_tensors,
    same_bits,
    weights_of,
    write_header,
)
from tests.fixtures import tiny_model

ROOT = Path(__file__).resolve().parents[3]
Break = Callable[[Path], None]


def set_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Break:
    def broken(path: Path) -> None:
        edit_tensors(path / "model.safetensors", lambda t: t.update({name: change(t[name]).contiguous()}))

    return broken


def set_config(**fields: Any) -> Break:
    return lambda path: edit_json(path / "config.json", **fields)


def set_entry(name: str, **fields: Any) -> Break:
    return lambda path: edit_header(path / "model.safetensors", lambda header: header[name].update(fields))


def set_index(weight_map: Any) -> Break:
    def broken(path: Path) -> None:
        os.rename(path / "model.safetensors", path / "a.safetensors")
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return broken


def to_pickle(path: Path) -> None:
    torch.save(read_tensors(path / "model.safetensors"), path / "model.safetensors")


def only_a_pickle(path: Path) -> None:
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def both_forms(path: Path) -> None:
    (path / "model.safetensors.index.json").write_text('{"weight_map": {}}')


def shard_without_index_entry(path: Path) -> None:
    names = sorted(load_file(path / "model.safetensors"))
    set_index(dict.fromkeys(names[1:], "a.safetensors"))(path)


def as_fifo(path: Path) -> None:
    (path / "model.safetensors").unlink()
    os.mkfifo(path / "model.safetensors")


def remove(name: str) -> Break:
    return lambda path: (path / name).unlink()


def put(name: str, data: bytes) -> Break:
    def broken(path: Path) -> None:
        (path / name).write_bytes(data)

    return broken


def truncate(name: str, keep: int) -> Break:
    return lambda path: os.truncate(path / name, keep)


def spoil(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[7] = value
        return tensor

    return change


def without(name: str) -> Break:
    return lambda path: edit_tensors(path / "model.safetensors", lambda tensors: tensors.pop(name))


A = "layers.0.cell.A"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
BROKEN: dict[str, tuple[Break, str]] = {
    "no config": (remove(CONFIG), "config.json: is missing"),
    "config is no JSON": (put(CONFIG, b"{"), "cannot be parsed"),
    "config is no UTF-8": (put(CONFIG, b'{"a": "\xff"}'), "cannot be parsed"),
    "config is a list": (put(CONFIG, b"[]"), "not a JSON object"),
    "config nested": (put(CONFIG, b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "config huge": (put(CONFIG, b" " * (2 << 20)), "larger than"),
    "config of others": (set_config(model_type="llama"), "model_type"),
    "config with unknown key": (set_config(rope_theta=1), "rope_theta"),
    "config with a wrong type": (set_config(hidden_size="32"), "hidden_size"),
    "config of terabytes": (
        set_config(hidden_size=2**20, num_heads=1, vocab_size=2**21),
        "belong to different models",
    ),
    "config of a billion layers": (set_config(num_hidden_layers=10**9), "far larger"),
    "config beyond all numbers": (set_config(hidden_size=10**30), "hidden_size"),
    "config of too many weights": (set_config(hidden_size=2**31, vocab_size=2**31), "far larger"),
    "fingerprint of a wrong type": (set_config(fingerprint=5), "fingerprint"),
    "fingerprint of others": (set_config(fingerprint="0" * 64), "fingerprint"),
    "no weights": (remove(WEIGHTS), "holds no model.safetensors"),
    "weights missing": (without(A), f"missing {A}"),
    "weights unexpected": (
        lambda p: edit_tensors(p / WEIGHTS, lambda t: t.update(x=t[A] + 1)),
        "unexpected x",
    ),
    "shape": (set_tensor(A, lambda t: t[:, :-1]), r"layers.0.cell.A is \[3, 31\] and should be \[3, 32\]"),
    "shape transposed": (set_tensor(A, lambda t: t.T), r"\[32, 3\]"),
    "dtype": (set_tensor(A, lambda t: t.to(torch.bfloat16)), "dtype float32, but layers.0.cell.A is BF16"),
    "dtype of all": (set_config(dtype="bfloat16"), "dtype bfloat16, but"),
    "NaN": (set_tensor(A, spoil(float("nan"))), f"{A} holds NaN"),
    "infinity": (set_tensor("norm.weight", spoil(float("-inf"))), "norm.weight holds NaN or infinity"),
    "empty file": (truncate(WEIGHTS, 0), "truncated"),
    "truncated length": (truncate(WEIGHTS, 5), "truncated"),
    "truncated header": (truncate(WEIGHTS, 100), "truncated"),
    "truncated data": (truncate(WEIGHTS, 100_000), "truncated"),
    "trailing bytes": (
        lambda p: os.truncate(p / WEIGHTS, (p / WEIGHTS).stat().st_size + 9),
        "after its last",
    ),
    "header of terabytes": (put(WEIGHTS, (2**43).to_bytes(8, "little") + b"{}"), "truncated"),
    "header of megabytes": (put(WEIGHTS, (5 << 20).to_bytes(8, "little") + bytes(6 << 20)), "header of"),
    "header is no JSON": (lambda p: write_header(p / WEIGHTS, b"{]", b""), "broken header"),
    "header nested": (lambda p: write_header(p / WEIGHTS, b"[" * 100_000, b""), "nested too deeply"),
    "header is a list": (lambda p: write_header(p / WEIGHTS, [1], b""), "broken header"),
    "key twice": (lambda p: write_header(p / WEIGHTS, b'{"a": 1, "a": 2}', b""), "appears twice"),
    "entry is no object": (lambda p: edit_header(p / WEIGHTS, lambda h: h.update(x=5)), "needs dtype"),
    "entry without dtype": (lambda p: edit_header(p / WEIGHTS, lambda h: h[A].pop("dtype")), "needs dtype"),
    "unknown dtype": (set_entry(A, dtype="F13"), "unknown dtype"),
    "negative shape": (set_entry(A, shape=[-3, -32]), "shape or data_offsets"),
    "shape of true": (set_entry(A, shape=[True, 96]), "shape or data_offsets"),
    "too many dimensions": (set_entry(A, shape=[1] * 100), "shape or data_offsets"),
    "claims beyond the file": (
        set_entry(A, shape=[2**20, 2**21], data_offsets=[0, 2**43]),
        "overlaps|hole|truncated",
    ),
    "offsets reversed": (set_entry(A, data_offsets=[384, 0]), "do not fit"),
    "offsets overlap": (set_entry(A, data_offsets=[4, 388]), "overlaps"),
    "one offset": (set_entry(A, data_offsets=[0]), "shape or data_offsets"),
    "a pickle in disguise": (to_pickle, "--allow-pickle"),
    "a bare pickle in disguise": (put(WEIGHTS, b"\x80\x04\x95" + bytes(range(1, 99))), "--allow-pickle"),
    "only a pickle": (only_a_pickle, "--allow-pickle"),
    "not a regular file": (as_fifo, "not a regular file"),
    "both forms": (both_forms, "both"),
    "index escapes": (set_index({A: "../model.safetensors"}), "no plain"),
    "index absolute": (set_index({A: "/etc/passwd"}), "no plain"),
    "index of a wrong type": (set_index({A: 5}), "no plain"),
    "index empty": (set_index({}), "no weight_map"),
    "index of a missing shard": (set_index({A: "b.safetensors"}), "is missing"),
    "index of a missing tensor": (set_index({"x": "a.safetensors"}), "does not hold"),
    "index incomplete": (shard_without_index_entry, "does not place there"),
    "tokenizer is no JSON": (put("tokenizer.json", b"x"), "tokenizer.json"),
    "tokenizer without vocabulary": (put("tokenizer.json", b"{}"), "vocabulary"),
    "tokenizer of others": (
        put("tokenizer.json", json.dumps({"model": {"vocab": {"a": 265}}}).encode()),
        "vocab_size is 265",
    ),
}


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_checkpoint_is_one_clear_error(broken: str, copy: Path) -> None:
    spoil_it, expected = BROKEN[broken]
    spoil_it(copy)
    with pytest.raises(CheckpointError, match=expected) as refused:
        load_checkpoint(copy)
    assert str(copy) in str(refused.value)
    assert len(str(refused.value)) <= 1000


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path / "absent", "does not exist"),
        (lambda path: path / "model.safetensors", "give the directory"),
        (lambda path: path / "config.json", "give the directory"),
    ],
)
def test_a_path_that_is_no_checkpoint_is_refused(
    make: Callable[[Path], Path], expected: str, saved: Path
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(make(saved))


def test_a_file_that_is_a_pickle_is_refused_with_advice(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="--allow-pickle"):
        load_checkpoint(tmp_path / "model.pt")


LOAD_WITHIN = """
import resource, sys
from pararnn_core.checkpoint import CheckpointError, load_checkpoint
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        load_checkpoint(path, pack=False)
        print("loaded")
    except CheckpointError as error:
        print("refused")
"""


def test_absurd_claims_allocate_nothing(saved: Path, tmp_path: Path) -> None:
    """Each in a process that may grow by 64 MiB: what was claimed is terabytes."""
    absurd = [
        "config of terabytes",
        "config of a billion layers",
        "header of terabytes",
        "claims beyond the file",
    ]
    paths = []
    for i, name in enumerate(absurd):
        paths.append(Path(shutil.copytree(saved, tmp_path / str(i))))
        BROKEN[name][0](paths[-1])
    command = [sys.executable, "-c", LOAD_WITHIN, *map(str, paths), str(saved)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.stdout.split() == ["refused"] * len(absurd) + ["loaded"], result.stderr


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_the_weights_is_refused(data: st.DataObject, copy: Path, saved: Path) -> None:
    original = (saved / WEIGHTS).read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, 3000) | st.integers(0, len(original) - 1))] ^= data.draw(
            st.integers(1, 255)
        )
    del damaged[data.draw(st.just(len(original)) | st.integers(0, len(original))) :]
    (copy / WEIGHTS).write_bytes(damaged)
    if damaged != original:
        try:
            loaded = load_checkpoint(copy, pack=False)
        except CheckpointError:
            return
        # Only the free text of the header's metadata may differ.
        assert same_bits(weights_of(loaded), weights_of(tiny_model("lstm")))
