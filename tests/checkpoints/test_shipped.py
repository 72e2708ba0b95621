"""The models that ship are whole, small enough, and better than compressing."""

import json
import re
from pathlib import Path

import pytest
from pararnn_server.fetch.chat_models import available_models, parts_folder
from pararnn_server.models.find_checkpoint import find_checkpoint
from pararnn_server.settings.server_settings import Settings

from checkpoints.baselines import xz_bits_per_byte
from checkpoints.corpus import is_held_out, load_documents
from checkpoints.evaluate import model_bits_per_byte
from checkpoints.quantize_shipped import COMMITTED
from pararnn_core.checkpoint import checkpoint_info, load_checkpoint, verify_checkpoint
from pararnn_core.generate import generate
from pararnn_core.sampling_params import SamplingParams
from pararnn_core.training.chat_template import CHAT_TEMPLATE
from pararnn_core.training.tokenizer import encode_source, load_tokenizer

ROOT = Path(__file__).parents[2] / "checkpoints"
CMAKE = ROOT.parent / "csrc" / "CMakeLists.txt"
SHIPPED = sorted(file.parent for file in ROOT.glob("*/config.json"))
HELD_OUT_FILE = "asyncio/runners.py"
MAX_PARAMETERS = 6_000_000
PROMISED_INCREASE = 0.1
"""Largest increase of the perplexity by quantisation to int8, in percent."""


def test_one_model_ships_whole() -> None:
    assert [folder.name for folder in SHIPPED] == [COMMITTED]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
class TestShipped:
    def test_every_byte_is_the_one_that_was_saved(self, folder: Path) -> None:
        info = checkpoint_info(folder)
        assert verify_checkpoint(folder) == info.fingerprint
        assert info.config.num_parameters <= MAX_PARAMETERS
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

    def test_what_the_card_shows_is_there(self, folder: Path) -> None:
        (picture,) = re.findall(r"!\[.*\]\((.*)\)", (folder / "README.md").read_text())
        assert (folder / picture).is_file()


def test_the_card_holds_the_promise_on_all_held_out_files() -> None:
    card = (ROOT / COMMITTED / "README.md").read_text()
    (increase,) = re.findall(r"\| perplexity of a token \| .* \| .* \(([+-].*) %\) \|", card)
    assert float(increase) <= PROMISED_INCREASE
    for expected in ("training files", "35 held-out files", "KL divergence", "error-compensated"):
        assert expected in card


def test_without_a_name_the_first_one_in_int8_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARARNN_CHECKPOINT_DIR", raising=False)
    assert find_checkpoint(Settings()).name == COMMITTED


def test_the_build_installs_the_one_that_is_served_without_a_name() -> None:
    installs = re.findall(r"install\(DIRECTORY .*/checkpoints/(\S+) DESTINATION (\S+)\)", CMAKE.read_text())
    assert installs == [(COMMITTED, "pararnn_server/checkpoints")]


def test_the_build_installs_the_parts_of_the_chat_models() -> None:
    text = CMAKE.read_text()
    [parts] = re.findall(r"file\(GLOB CHAT_MODEL_PARTS (.*?)\)", text, re.DOTALL)
    patterns = re.findall(r"/checkpoints/distil/(\S+)", parts)
    [further] = re.findall(r"install\(FILES \${CHAT_MODEL_PARTS} (.*?)\)", text, re.DOTALL)
    folder = parts_folder()
    installed = {file.name for pattern in patterns for file in folder.glob(pattern)}
    installed |= set(re.findall(r"/(\w+)(?=\s)", further))
    for model in available_models(folder):
        assert {model.mixers_in(folder).name, model.figures_in(folder).name, "NOTICE", "LICENSE"} <= installed
    assert further.endswith("DESTINATION pararnn_server/checkpoints/distil")
