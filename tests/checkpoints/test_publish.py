import json
from pathlib import Path

import pytest
import torch

from checkpoints import publish
from checkpoints.corpus import Document
from checkpoints.token_data import encode_documents
from pararnn_core.checkpoint import load_checkpoint
from pararnn_core.training.card import CURVE_FILE, processor_name
from pararnn_core.training.curve import smoothed
from pararnn_core.training.plan import Plan
from pararnn_core.training.prepare import prepared, write_data
from pararnn_core.training.run import Run
from pararnn_core.training.run_folder import RunFolder
from pararnn_core.training.tokenizer import save_tokenizer, train_tokenizer
from pararnn_core.training.trainer import Recipe
from tests.fixtures import tiny_config

FIGURES = {
    "model": 1.2,
    "token_5gram": 1.6,
    "xz": 1.7,
    "byte_5gram": 1.9,
    "held_out_bytes": 1000.0,
    "held_out_files": 2.0,
}


@pytest.fixture
def finished_run(tmp_path: Path) -> RunFolder:
    texts = [f"def double_{i}(x):\n    return 2 * x\n" for i in range(50)]
    tokenizer = train_tokenizer(texts, vocab_size=300)
    folder = RunFolder(tmp_path / "run", resume=False)
    save_tokenizer(tokenizer, folder.path / "tokenizer")
    documents = [Document(f"{i}.py", text) for i, text in enumerate(texts)]
    config = tiny_config(
        vocab_size=tokenizer.get_vocab_size(), tie_embeddings=True, bos_token_id=0, eos_token_id=4
    )
    plan = Plan(text="the library", steps=3, recipe=Recipe(seq_len=8, batch_size=2))
    encoded = encode_documents(tokenizer, documents)
    rows = [(i == 0, ids.tolist(), len(texts[i])) for i, ids in enumerate(encoded)]
    write_data(folder, plan, config, rows, {"text": plan.text, "text_sha256": "0" * 64, "python": "3.x"})
    Run(prepared(folder), folder).train(lambda report: None, lambda: False)
    return folder


def test_a_published_checkpoint_is_whole(
    finished_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "evaluate", lambda folder: FIGURES)
    out = tmp_path / "tiny"
    publish.publish(finished_run, out)
    model = load_checkpoint(out, pack=False)
    trained = finished_run.load_state()["model"]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, trained[name].bfloat16()), name
    card = (out / "README.md").read_text()
    for expected in ("# tiny", "**1.200**", "1.700", "def fibonacci(n):", "Licence", "0" * 64):
        assert expected in card
    assert (out / CURVE_FILE).read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [4, 0]


def test_only_a_finished_run_is_published(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        publish.main(["--run", str(tmp_path), "--out", str(tmp_path / "out")])


def test_smoothing_keeps_a_constant() -> None:
    assert smoothed([2.0] * 9) == pytest.approx([2.0] * 9)


def test_processor_is_named_or_unknown(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags: x\nmodel name\t: Fast One\n")
    assert processor_name(tmp_path / "cpuinfo") == "Fast One"
    assert processor_name(tmp_path / "none") == "an unknown processor"
