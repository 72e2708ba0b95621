import json
from pathlib import Path

import pytest
import torch

from pararnn_core import load_checkpoint, quantize_checkpoint
from pararnn_core.checkpoint import CheckpointError, checkpoint_info, verify_checkpoint
from pararnn_core.quantize import Text
from pararnn_core.quantize.quality import measure_quality
from pararnn_core.quantize.quantize_model import quantize_model
from tests.core.checkpoint.checkpoint_files import same_bits, weights_of
from tests.fixtures import TINY_VOCAB_SIZE, tiny_checkpoint
from tests.quantized_fixtures import tiny_quantized_checkpoint


def text(*lengths: int, seed: int = 0) -> Text:
    generator = torch.Generator().manual_seed(seed)
    documents = [torch.randint(TINY_VOCAB_SIZE, (n,), generator=generator).tolist() for n in lengths]
    return Text(documents, f"{len(lengths)} documents")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that tests must not change."""
    path = tiny_checkpoint(tmp_path_factory.mktemp("source") / "model", "lstm", dtype="bfloat16")
    (path / "README.md").write_text("# model\n\nTrained with care.\n")
    defaults = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps(defaults | {"temperature": 0.7}))
    return path


def card_of(path: Path) -> str:
    return (path / "README.md").read_text()


@pytest.mark.parametrize("bits", [8, 4])
def test_what_is_written_is_the_model_that_was_measured(bits: int, source: Path, tmp_path: Path) -> None:
    evaluation = text(60, 30, seed=1)
    made = quantize_checkpoint(source, tmp_path / "q", bits, 16, text(900), evaluation)
    assert made.quality is not None
    written, before = load_checkpoint(tmp_path / "q"), load_checkpoint(source)
    documents = [torch.tensor(ids) for ids in evaluation.documents]
    assert measure_quality(before, written, documents) == made.quality
    assert verify_checkpoint(tmp_path / "q") == written.fingerprint
    assert written.config == made.config
    assert checkpoint_info(tmp_path / "q").weight_bytes == made.weight_bytes


def test_without_calibration_it_is_plain_rounding(source: Path, tmp_path: Path) -> None:
    made = quantize_checkpoint(source, tmp_path / "q", 8)
    quantization = made.config.quantization
    assert quantization is not None
    assert (quantization.method, quantization.bits, quantization.group_size) == ("round", 8, 128)
    expected = quantize_model(load_checkpoint(source, pack=False), quantization)
    assert same_bits(weights_of(load_checkpoint(tmp_path / "q", pack=False)), weights_of(expected))
    card = card_of(tmp_path / "q")
    assert "no calibration text" in card
    assert "No quality was measured" in card


def test_beside_4_bits_the_vocabulary_keeps_8(source: Path, tmp_path: Path) -> None:
    made = quantize_checkpoint(source, tmp_path / "q", 4)
    quantization = made.config.quantization
    assert quantization is not None
    wide = {name for name, its in quantization.overrides if its.bits == 8}
    assert wide == {"embedding.weight", "lm_head.weight"}
    assert quantization.default.bits == 4
    matrices = dict(load_checkpoint(tmp_path / "q", pack=False).quantized_matrices())
    stored = 8 * sum(matrix.nbytes for matrix in matrices.values())
    weights = sum(matrix.out_features * matrix.in_features for matrix in matrices.values())
    assert made.bits_per_weight == stored / weights


def test_the_card_says_how_and_on_what_text_and_keeps_the_source_card(source: Path, tmp_path: Path) -> None:
    made = quantize_checkpoint(source, tmp_path / "small", 4, None, text(1200, 40), text(50, seed=1))
    card = card_of(tmp_path / "small")
    quality = made.quality
    assert quality is not None
    for expected in (
        "# small\n",
        "`model`",
        "int4, a scale for 32 inputs; int8, a scale for 128 inputs: `embedding.weight`, `lm_head.weight`",
        f"{made.bits_per_weight:.2f}",
        "2 windows of 512 tokens from 2 documents",
        "Measured on 1 documents: 49 tokens",
        f"{quality.float_perplexity:.4f} | {quality.perplexity:.4f}",
        f"{quality.mean_divergence:.5f}",
        f"{quality.p99_divergence:.4f}",
        "bfloat16",
        "# model\n\nTrained with care.\n",
    ):
        assert expected in card


def test_tokenizer_template_and_defaults_are_kept(source: Path, tmp_path: Path) -> None:
    quantize_checkpoint(source, tmp_path / "q")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        before, after = ((path / name).read_text() for path in (source, tmp_path / "q"))
        assert json.loads(after) == json.loads(before), name


def test_an_older_checkpoint_is_replaced_and_other_files_stay(source: Path, tmp_path: Path) -> None:
    target = tiny_checkpoint(tmp_path / "q")
    (target / "notes.txt").write_text("mine")
    quantize_checkpoint(source, target)
    assert checkpoint_info(target).config.quantization is not None
    assert (target / "notes.txt").read_text() == "mine"


def test_a_source_without_tokenizer_and_card_is_enough(source: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    config = json.loads((source / "config.json").read_text())
    del config["fingerprint"]
    (bare / "config.json").write_text(json.dumps(config))
    (bare / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    quantize_checkpoint(bare, tmp_path / "q")
    assert not checkpoint_info(tmp_path / "q").has_tokenizer


def test_progress_names_what_is_done_and_reaches_the_end(source: Path, tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}

    def report(what: str, done: int, total: int) -> None:
        seen[what] = (done, total)

    quantize_checkpoint(source, tmp_path / "q", 8, None, None, text(20), report)
    assert list(seen) == ["quantising", "measuring"]
    assert all(done == total for done, total in seen.values())


class TestMisuse:
    """One clear error, and nothing is written."""

    @pytest.fixture(autouse=True)
    def _nothing_is_written(self, tmp_path: Path) -> None:
        self.target = tmp_path / "q"

    @pytest.mark.parametrize(
        ("bits", "group_size", "named"), [(5, None, "bits"), (8, 17, "group_size"), (4, 2048, "group_size")]
    )
    def test_formats_that_no_matrix_has(
        self, bits: int, group_size: int | None, named: str, source: Path
    ) -> None:
        with pytest.raises(ValueError, match=f"^{named} must be"):
            quantize_checkpoint(source, self.target, bits, group_size)
        assert not self.target.exists()

    def test_a_quantised_source(self, tmp_path: Path) -> None:
        quantized = tiny_quantized_checkpoint(tmp_path / "small")
        with pytest.raises(CheckpointError, match="quantised already"):
            quantize_checkpoint(quantized, self.target)
        assert not self.target.exists()

    def test_the_source_as_target(self, source: Path) -> None:
        fingerprint = verify_checkpoint(source)
        with pytest.raises(CheckpointError, match="source itself"):
            quantize_checkpoint(source, source.parent / "." / source.name)
        assert verify_checkpoint(source) == fingerprint

    def test_a_target_with_other_things_in_it_is_refused_before_any_work(self, source: Path) -> None:
        self.target.mkdir()
        (self.target / "thesis.txt").write_text("irreplaceable")
        with pytest.raises(CheckpointError, match="no checkpoint of this project"):
            quantize_checkpoint(source, self.target, progress=lambda *_: pytest.fail("worked already"))
        assert [file.name for file in self.target.iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize("empty", [Text([], "nothing"), Text([[]], "nothing")])
    def test_texts_without_tokens(self, empty: Text, source: Path) -> None:
        for calibration, evaluation in ((empty, None), (None, empty)):
            with pytest.raises(ValueError, match="text"):
                quantize_checkpoint(
                    source,
                    self.target,
                    calibration=calibration,
                    evaluation=evaluation,
                    progress=lambda *_: pytest.fail("worked already"),
                )
        assert not self.target.exists()

    def test_a_source_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="does not exist"):
            quantize_checkpoint(tmp_path / "absent", self.target)
