import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pararnn_core import checkpoint
from pararnn_core.checkpoint import (
    CheckpointError,
    checkpoint_info,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from pararnn_core.config import num_parameters
from pararnn_core.model import ParaRNNForCausalLM
from tests.fixtures import tiny_config, tiny_model, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
Break = Callable[[Path], None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint; not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "model"
    tokenizer = path.with_name("tokenizer.json")
    tiny_tokenizer().save(str(tokenizer))
    save_checkpoint(tiny_model("lstm"), path, tokenizer, chat_template="{{ messages }}")
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def weights_of(model: ParaRNNForCausalLM) -> dict[str, torch.Tensor]:
    return dict(model.weights())


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def edit_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def edit_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header, data = header_of(path)
    change(header)
    write_header(path, header, data)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Copies: load_file's tensors are views of the file, which is about to be written."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = read_tensors(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_saved_model_comes_back_bit_for_bit(
    cell: str, dtype: str, tied: bool, packed: bool, tmp_path: Path
) -> None:
    model = tiny_model(cell, seed=3, dtype=dtype, tie_embeddings=tied)
    before = {name: tensor.clone() for name, tensor in model.weights()}
    fingerprint = save_checkpoint(model.pack() if packed else model, tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model", pack=packed)
    assert same_bits(weights_of(loaded), before)
    assert loaded.config == model.config
    assert loaded.fingerprint == fingerprint
    assert loaded.is_packed == packed
    assert not loaded.training


def test_loading_and_saving_again_changes_no_byte(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(load_checkpoint(saved), tmp_path / "again", tokenizer=saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()
    }


def test_the_directory_has_the_hugging_face_layout(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "README.md",
    }
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "pararnn"
    assert json.loads((saved / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|eos|>",
        "chat_template": "{{ messages }}",
    }
    assert load_file(saved / "model.safetensors").keys() == weights_of(tiny_model("lstm")).keys()
    assert saved.stat().st_mode == saved.parent.stat().st_mode | 0o055 & ~umask()


def umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value


def test_shards_hold_the_same_model(tmp_path: Path) -> None:
    model = tiny_model()
    whole = save_checkpoint(model, tmp_path / "whole")
    sharded = write_checkpoint(model.config, weights_of(model), tmp_path / "sharded", max_shard_bytes=20_000)
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 3
    assert sharded == whole
    assert same_bits(weights_of(load_checkpoint(tmp_path / "sharded", pack=False)), weights_of(model))


def test_weights_are_rounded_to_the_dtype_asked_for(tmp_path: Path) -> None:
    model = tiny_model()
    save_checkpoint(model, tmp_path / "narrow", dtype="bfloat16")
    narrow = load_checkpoint(tmp_path / "narrow", pack=False)
    rounded = {name: tensor.to(torch.bfloat16) for name, tensor in model.weights()}
    assert narrow.config == replace(model.config, dtype="bfloat16")
    assert same_bits(weights_of(narrow), rounded)
    wide = load_checkpoint(tmp_path / "narrow", dtype="float32", pack=False)
    assert same_bits(weights_of(wide), {name: tensor.float() for name, tensor in rounded.items()})
    assert wide.fingerprint != narrow.fingerprint
    with pytest.raises(ValueError, match="dtype"):
        load_checkpoint(tmp_path / "narrow", dtype="int8")


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_recurrent_clip_is_applied_when_the_config_says_so(cell: str, tmp_path: Path) -> None:
    model = tiny_model(cell, recurrent_clip=0.1)
    save_checkpoint(model, tmp_path / "model")
    loaded = weights_of(load_checkpoint(tmp_path / "model", pack=False))
    for name, tensor in model.weights():
        clipped = name.endswith((".A", ".C"))
        assert torch.equal(loaded[name], tensor.clamp(-0.1, 0.1) if clipped else tensor), name


def test_progress_counts_every_byte_once(saved: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_checkpoint(saved, progress=lambda done, total: seen.append((done, total)))
    total = checkpoint_info(saved).weight_bytes
    assert {t for _, t in seen} == {total}
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (total, total)


def test_info_reads_no_weight(saved: Path) -> None:
    info = checkpoint_info(saved)
    assert info.config == tiny_config("lstm")
    assert info.weight_bytes == 4 * num_parameters(info.config)
    assert {t.name: t.shape for t in info.tensors} == {
        name: tuple(t.shape) for name, t in tiny_model("lstm").weights()
    }
    assert info.has_tokenizer
    assert info.has_chat_template
    assert info.fingerprint == verify_checkpoint(saved)


def test_no_file_of_the_checkpoint_stays_open_or_mapped(copy: Path) -> None:
    model = load_checkpoint(copy)
    mapped = Path("/proc/self/maps").read_text()
    opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert model.fingerprint
    assert str(copy) not in mapped
    assert not [path for path in opened if path.startswith(str(copy))]


def change_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


def test_the_fingerprint_covers_config_tokenizer_and_weights_but_not_the_layout(copy: Path) -> None:
    original = verify_checkpoint(copy)
    (copy / "README.md").write_text("another card")
    os.rename(copy / "model.safetensors", copy / "model-1.safetensors")
    names = header_of(copy / "model-1.safetensors")[0].keys() - {"__metadata__"}
    index = {"weight_map": dict.fromkeys(names, "model-1.safetensors")}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert verify_checkpoint(copy) == original
    for change in (
        lambda: edit_json(copy / "config.json", norm_eps=1e-5),
        lambda: (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " "),
        lambda: change_last_byte(copy / "model-1.safetensors"),
    ):
        kept = {path: path.read_bytes() for path in copy.iterdir()}
        change()
        for attempt in (verify_checkpoint, load_checkpoint):
            with pytest.raises(CheckpointError, match="fingerprint"):
                attempt(copy)
        for path, data in kept.items():
            path.write_bytes(data)
    assert verify_checkpoint(copy) == original


def test_without_verification_the_fingerprint_is_taken_as_it_stands(copy: Path) -> None:
    change_last_byte(copy / "model.safetensors")
    assert load_checkpoint(copy, verify=False).fingerprint == checkpoint_info(copy).fingerprint


def test_weights_above_the_limit_are_verified_only_on_request(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_last_byte(copy / "model.safetensors")
    monkeypatch.setattr(checkpoint, "VERIFIED_BY_DEFAULT_BYTES", 1000)
    assert load_checkpoint(copy).fingerprint == checkpoint_info(copy).fingerprint
    with pytest.raises(CheckpointError, match="fingerprint"):
        load_checkpoint(copy, verify=True)


def test_a_checkpoint_without_fingerprint_gets_the_one_it_deserves(copy: Path) -> None:
    fields = json.loads((copy / "config.json").read_text())
    stored = fields.pop("fingerprint")
    (copy / "config.json").write_text(json.dumps(fields))
    assert checkpoint_info(copy).fingerprint is None
    assert load_checkpoint(copy, verify=False).fingerprint == stored


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
    "config of terabytes": (set_config(hidden_size=2**20, num_heads=1, vocab_size=2**21), "not of one model"),
    "config of a billion layers": (set_config(num_hidden_layers=10**9), "far larger"),
    "config beyond all numbers": (set_config(hidden_size=10**30), "hidden_size"),
    "config of too many weights": (set_config(hidden_size=2**31, vocab_size=2**31), "far larger"),
    "quantised": (set_config(quantization_config={"bits": 4}), "quantization_config"),
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
    "key twice": (lambda p: write_header(p / WEIGHTS, b'{"a": 1, "a": 2}', b""), "stands twice"),
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
    "index of a missing shard": (set_index({A: "b.safetensors"}), "cannot be read"),
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


def test_symbolic_links_are_followed(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for path in saved.iterdir():
        (tmp_path / "model" / path.name).symlink_to(path)
    assert load_checkpoint(tmp_path / "model").fingerprint == verify_checkpoint(saved)


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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
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


def test_a_failed_save_leaves_the_old_checkpoint_and_no_litter(copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    model = tiny_model("lstm")
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    with pytest.raises(CheckpointError, match=r"norm\.weight holds NaN"):
        save_checkpoint(model, copy)
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tiny_model("lstm"), copy, generation={"temperature": float("nan")})
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_save_interrupted_while_writing_leaves_the_old_checkpoint(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    def full_disk(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(tiny_model("gru"), copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_saving_over_a_checkpoint_replaces_it_and_keeps_what_is_not_its_own(copy: Path) -> None:
    (copy / "learning-curve.png").write_bytes(b"png")
    (copy / "notes").mkdir()
    (copy / "notes" / "a.txt").write_text("a")
    model = tiny_model("gru", seed=8)
    write_checkpoint(model.config, weights_of(model), copy, max_shard_bytes=20_000)
    save_checkpoint(model, copy, card="# mine\n")
    assert same_bits(weights_of(load_checkpoint(copy, pack=False)), weights_of(model))
    assert {path.name for path in copy.iterdir()} == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "README.md",
        "learning-curve.png",
        "notes",
    }
    assert (copy / "README.md").read_text() == "# mine\n"
    assert (copy / "notes" / "a.txt").read_text() == "a"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_directory_that_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="choose another path"):
        save_checkpoint(tiny_model(), tmp_path / "home")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    save_checkpoint(tiny_model(), tmp_path / "empty")


def test_what_does_not_fit_the_config_is_not_written(tmp_path: Path) -> None:
    model = tiny_model()
    weights = weights_of(model)
    del weights["norm.weight"]
    with pytest.raises(CheckpointError, match=r"missing norm\.weight"):
        write_checkpoint(model.config, weights, tmp_path / "model")
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps({"model": {"vocab": {"a": 5000}}}))
    with pytest.raises(CheckpointError, match="another model's tokenizer"):
        save_checkpoint(model, tmp_path / "model", tokenizer)
    with pytest.raises(ValueError, match="chat_template needs a tokenizer"):
        save_checkpoint(model, tmp_path / "model", chat_template="x")
    assert not (tmp_path / "model").exists()
