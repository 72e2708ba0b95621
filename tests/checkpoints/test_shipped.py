"""The models that ship are whole, small enough, and better than compressing."""

import json
import re
from pathlib import Path

import pytest

from checkpoints.baselines import xz_bits_per_byte
from checkpoints.build_tokenizer import encode_source, load_tokenizer
from checkpoints.chat_template import CHAT_TEMPLATE
from checkpoints.corpus import is_held_out, load_documents
from checkpoints.evaluate import model_bits_per_byte
from pararnn_core.checkpoint import checkpoint_info, load_checkpoint, verify_checkpoint
from pararnn_core.config import num_parameters
from pararnn_core.generate import generate
from pararnn_core.sampling_params import SamplingParams

ROOT = Path(__file__).parents[2] / "checkpoints"
SHIPPED = sorted(file.parent for file in ROOT.glob("*/config.json"))
HELD_OUT_FILE = "asyncio/runners.py"
MAX_BYTES = 25_000_000
MAX_PARAMETERS = 6_000_000


def test_both_cells_ship_within_the_budget() -> None:
    assert {checkpoint_info(folder).config.cell for folder in SHIPPED} == {"gru", "lstm"}
    files = [file for file in ROOT.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
class TestShipped:
    def test_every_byte_is_the_one_that_was_saved(self, folder: Path) -> None:
        info = checkpoint_info(folder)
        assert verify_checkpoint(folder) == info.fingerprint
        assert num_parameters(info.config) <= MAX_PARAMETERS
        assert info.has_tokenizer
        assert info.has_chat_template

    def test_the_template_is_the_one_it_was_trained_with(self, folder: Path) -> None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        assert config["chat_template"] == CHAT_TEMPLATE

    def test_a_held_out_file_costs_less_than_compressed(self, folder: Path) -> None:
        assert is_held_out(HELD_OUT_FILE)
        (document,) = (d for d in load_documents() if d.path == HELD_OUT_FILE)
        model = load_checkpoint(folder)
        assert model_bits_per_byte(model, folder, [document]) < 0.6 * xz_bits_per_byte([document])

    def test_a_function_is_continued_with_an_indented_body(self, folder: Path) -> None:
        tokenizer = load_tokenizer(folder)
        (ids,) = encode_source(tokenizer, ["def fibonacci(n):"])
        params = SamplingParams(max_tokens=24, temperature=0.0)
        text = tokenizer.decode(list(generate(load_checkpoint(folder), ids, params)))
        assert text.startswith("\n    ")

    def test_the_card_names_every_measure(self, folder: Path) -> None:
        card = (folder / "README.md").read_text()
        for expected in ("bits per byte", "xz -9e", "5-gram", "Limits", "Licence", "learning-curve.png"):
            assert expected in card

    def test_the_model_beats_every_baseline_of_its_card(self, folder: Path) -> None:
        table = (folder / "README.md").read_text().split("| | bits per byte |")[1].split("\n\n")[0]
        figures = [float(figure) for figure in re.findall(r"\| \**(\d\.\d+)\** \|", table)]
        assert len(figures) == 4
        assert figures[0] < min(figures[1:])
        assert (folder / "learning-curve.png").is_file()
