from pathlib import Path

import pytest

from checkpoints import quality
from checkpoints.corpus import Document, split_documents
from checkpoints.quantize_shipped import BITS, GROUP_SIZES, quantize_shipped, quantized_name
from pararnn_core.checkpoint import checkpoint_info, save_checkpoint
from pararnn_core.training.tokenizer import save_tokenizer, train_tokenizer
from tests.fixtures import tiny_model

DOCUMENTS = [Document(f"{i}.py", f"def double_{i}(x):\n    return {i} * x\n") for i in range(60)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer((document.text for document in DOCUMENTS), vocab_size=280)
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    model = tiny_model(vocab_size=280, tie_embeddings=True, bos_token_id=0, eos_token_id=4)
    card = "# tiny\n\n![Learning curve](learning-curve.png)\n"
    save_checkpoint(model, tmp_path / "tiny", tmp_path / "tokenizer", card=card)
    (tmp_path / "tiny" / "learning-curve.png").write_bytes(b"picture")
    return tmp_path / "tiny"


def test_the_table_holds_what_the_cards_hold(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = source.parent
    made = {bits: quantize_shipped(source, folder / f"tiny-int{bits}", bits, DOCUMENTS) for bits in BITS}
    monkeypatch.setattr(quality, "load_documents", lambda: DOCUMENTS)
    quality.main([str(source), "--checkpoints", str(folder)])
    table = capsys.readouterr().out
    for bits, each in made.items():
        assert each.quality is not None
        (row,) = [line for line in table.splitlines() if quantized_name("tiny", bits) in line]
        for figure in (f"{each.quality.perplexity:.4f}", f"{each.quality.mean_divergence:.5f}"):
            assert figure in row
            assert figure in (folder / quantized_name("tiny", bits) / "README.md").read_text()
        assert f"{each.quality.float_perplexity:.4f}" in table


def test_the_card_names_both_texts_and_has_the_picture(source: Path, tmp_path: Path) -> None:
    training, held_out = split_documents(DOCUMENTS)
    assert held_out
    quantize_shipped(source, tmp_path / "small", 4, DOCUMENTS)
    card = (tmp_path / "small" / "README.md").read_text()
    assert "![Learning curve](learning-curve.png)" in card
    assert (tmp_path / "small" / "learning-curve.png").read_bytes() == b"picture"
    assert f"{len(training)} training files" in card
    assert f"{len(held_out)} held-out files" in card
    quantization = checkpoint_info(tmp_path / "small").config.quantization
    assert quantization is not None
    assert (quantization.method, quantization.group_size) == ("gptq", GROUP_SIZES[4])


def test_a_folder_without_the_versions_is_one_clear_error(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quality, "load_documents", lambda: DOCUMENTS)
    with pytest.raises(SystemExit) as stopped:
        quality.main([str(source), "--checkpoints", str(source.parent)])
    assert stopped.value.code == 1
    assert quantized_name("tiny", BITS[0]) in capsys.readouterr().err
