import json
from pathlib import Path

import pytest
import torch

from checkpoints import publish
from checkpoints.build_tokenizer import save_tokenizer, train_tokenizer
from checkpoints.card import CURVE_FILE, processor_name
from checkpoints.corpus import Document
from checkpoints.curve import smoothed
from checkpoints.run_folder import RunFolder
from checkpoints.schedule import Budget
from checkpoints.token_data import encode_documents
from checkpoints.trainer import Recipe, Trainer
from pararnn_core.checkpoint import load_checkpoint
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
    ids = encode_documents(tokenizer, [Document(f"{i}.py", text) for i, text in enumerate(texts)])
    config = tiny_config(
        vocab_size=tokenizer.get_vocab_size(), tie_embeddings=True, bos_token_id=0, eos_token_id=4
    )
    trainer = Trainer(config, Recipe(seq_len=8, batch_size=2), ids, folder)
    budget = Budget(max_steps=3, max_minutes=None)
    trainer.run(budget, folder.log)
    trainer.save(budget)
    facts = {
        "parameters": 1,
        "training_tokens": 500,
        "bits_per_byte_of_a_nat": 0.4,
        "corpus_sha256": "0" * 64,
        "python": "3.x",
        "torch": "2.x",
        "threads": 1,
        "recipe": {"seq_len": 8, "batch_size": 2, "learning_rate": 1e-3, "use_muon": True},
    }
    (folder.path / "run.json").write_text(json.dumps(facts))
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
